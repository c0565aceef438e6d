/** Virtual FAT disks over directories in memory: what the guest reads, and what its writes do to the files. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError, errnoError } from "../../../../src/base/error.js";
import { flush, read, write } from "../../../../src/block/io.js";
import type { Node } from "../../../../src/block/node.js";
import { openNode } from "../../../../src/block/open.js";
import { portableVvfat } from "../../../../src/platform/directories.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import type { Directory, SyncDirectoryFace } from "../../../../src/storage/directory.js";
import { memoryDirectory, type FileTree } from "../../../../src/storage/memory-directory.js";
import { readFat } from "../../../support/fat.js";
import { chooseSeed, random, type Random } from "../../../support/random.js";
import { makeWorld, type World } from "../../../support/world.js";

const on: World = makeWorld({ mode: "sync", drivers: [raw, portableVvfat] });
const SECTOR = 512;
const NOON = Date.UTC(2024, 4, 17, 12);

interface Kind {
  "fat-type"?: number;
  floppy?: boolean;
}
const KINDS: readonly Kind[] = [
  {},
  { "fat-type": 12 },
  { "fat-type": 32 },
  { floppy: true },
  { floppy: true, "fat-type": 12 },
  { floppy: true, "fat-type": 16 },
];

const open = (dir: unknown, options: object = {}, rw = false): Promise<Node> =>
  on.run(
    openNode(on.environment, { driver: "vvfat", options: { dir, ...options, ...(rw ? { rw } : {}) }, flags: { write: rw } }),
  );
const folderOf = (tree: FileTree): ReturnType<typeof memoryDirectory> => memoryDirectory(tree, { now: () => NOON });

async function content(node: Node): Promise<Uint8Array> {
  const bytes = new Uint8Array(node.size);
  await on.run(read(node, bytes, 0));
  return bytes;
}
async function imageOf(tree: FileTree, kind: Kind): Promise<Uint8Array> {
  const node = await open(folderOf(tree), kind);
  try {
    return await content(node);
  } finally {
    await on.close(node);
  }
}
async function fails(work: Promise<unknown>, message: RegExp): Promise<void> {
  await work.then(
    () => assert.unreachable("no error"),
    (error: Error) => assert.match(error.message, message),
  );
}

/** Bytes as text, sorted: trees that can be compared. */
function flat(tree: FileTree, at = "", into: Record<string, string> = {}): Record<string, string> {
  for (const [name, value] of Object.entries(tree)) {
    if (value instanceof Uint8Array) into[at + name] = Buffer.from(value).toString("latin1");
    else if (typeof value === "string") into[at + name] = value;
    else {
      into[`${at}${name}/`] = "";
      flat(value, `${at}${name}/`, into);
    }
  }
  return Object.fromEntries(Object.entries(into).sort(([a], [b]) => (a < b ? -1 : 1)));
}

const NAMES = [
  "a.txt",
  "b",
  "Long name with spaces.data",
  "ünïcode",
  "README",
  "readme.md",
  "x.tar.gz",
  ".hidden",
  "日本語",
  "c-1~2",
];
function randomTree(chance: Random, depth = 0): FileTree {
  const tree: FileTree = {};
  for (const name of NAMES) {
    if (chance.chance(0.4)) continue;
    if (depth < 2 && chance.chance(0.2)) tree[name] = randomTree(chance, depth + 1);
    else tree[name] = chance.bytes(chance.pick([0, 1, 16, 511, 4096, 8192, 8193, 20_000]));
  }
  return tree;
}

/** BLOCKCORE_SEEDS=n: so many rounds of every random test. */
const rounds = (usual: number): number => Number(process.env["BLOCKCORE_SEEDS"] ?? usual);

test("what is in the directory is on the disk, whatever the kind", async () => {
  const seed = chooseSeed();
  const chance = random(seed);
  for (const kind of KINDS) {
    const tree = randomTree(chance);
    const disk = readFat(await imageOf(tree, kind));
    assert.equal(flat(disk.tree), flat(tree), `${JSON.stringify(kind)} seed ${seed}`);
    assert.is(disk.label, "QEMU VVFAT");
    assert.is(disk.type, kind["fat-type"] ?? (kind.floppy ? 12 : 16));
  }
});

test("short names: QEMU's, and one for each file", async () => {
  const names = ["FileLongName1.txt", "FileLongName2.txt", "..a", "a+b,c;d.x.y", "README", "readme"];
  const disk = await imageOf(Object.fromEntries(names.map((name) => [name, "x"])), {});
  // Without the long entries their short ones show.
  for (let at = 0; at < disk.length - 32 && at < 1 << 20; at += 32) if (disk[at + 11] === 0x0f) disk[at] = 0xe5;
  assert.equal(Object.keys(readFat(disk).tree), ["FILELO~1.TXT", "FILELO~2.TXT", "A~1", "ABCD~1.Y", "README", "README~1"]);
});

test("ten thousand names that begin alike", async () => {
  const many = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`photograph ${i}.jpeg`, ""]));
  const disk = await imageOf({ sub: many }, { "fat-type": 12 });
  assert.equal(Object.keys(readFat(disk).tree["sub"] as FileTree).length, 10_000);
  for (let at = 0; at < disk.length - 32 && at < 4 << 20; at += 32) if (disk[at + 11] === 0x0f) disk[at] = 0xe5;
  const short = Object.keys(readFat(disk).tree["SUB"] as FileTree);
  assert.equal([short[0], short[8], short[9], short[9_999]], ["PHOTOG~1.JPE", "PHOTOG~9.JPE", "PHOTO~10.JPE", "PH~10000.JPE"]);
  assert.is(new Set(short).size, 10_000);
});

test("options and limits are refused in QEMU's words", async () => {
  const folder = folderOf({});
  await fails(open(folder, { "fat-type": 13 }), /^Valid FAT types are only 12, 16 and 32$/);
  await fails(open(folder, { label: "123456789012" }), /^vvfat label cannot be longer than 11 bytes$/);
  await fails(open(undefined), /^vvfat block driver requires a 'dir' option$/);
  await fails(open("/etc"), /cannot be opened as a directory/);
  await fails(
    on.run(openNode(on.environment, { driver: "vvfat", options: { dir: folder, rw: true } })),
    /^Unable to set VVFAT to 'rw' when drive is read-only$/,
  );
  await fails(
    on.run(openNode(on.environment, { driver: "vvfat", options: { dir: folder }, flags: { write: true } })),
    /^Image is read-only$/,
  );
  await fails(
    open(folderOf({ big: new Uint8Array(3 << 20) }), { floppy: true }),
    /^Directory does not fit in FAT12 \(capacity 2.88 MB\)$/,
  );
  const many = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`n${i}`, ""]));
  await fails(open(folderOf(many)), /Too many entries in root directory/);
  assert.is(Object.keys(readFat(await imageOf(many, { "fat-type": 32 })).tree).length, 300);
});

/** Makes the guest's disk the image `to`, sector by sector in random order, pieces of up to 16 sectors. */
async function writeDifferences(node: Node, to: Uint8Array, chance: Random): Promise<void> {
  const from = await content(node);
  const pieces: number[] = [];
  for (let at = 0; at < to.length; at += SECTOR)
    if (Buffer.compare(from.subarray(at, at + SECTOR), to.subarray(at, at + SECTOR)) !== 0) pieces.push(at);
  for (let i = pieces.length - 1; i > 0; i--) {
    const j = chance.int(i + 1);
    [pieces[i], pieces[j]] = [pieces[j]!, pieces[i]!];
  }
  for (const at of pieces) {
    const length = Math.min(to.length - at, SECTOR * chance.pick([1, 1, 4, 16]));
    await on.run(write(node, to.subarray(at, at + length), at));
  }
}

test("writes in any order: in the end the files are what the guest has", async () => {
  const seed = chooseSeed();
  const chance = random(seed);
  for (let round = 0; round < rounds(24); round++) {
    const kind = KINDS[3 + (round % 3)]!;
    const before = randomTree(chance);
    const folder = folderOf(before);
    const node = await open(folder, kind, true);
    // Several generations on one disk: later ones build on what the first left.
    for (let generation = 0; generation < 3; generation++) {
      const after = randomTree(chance);
      const image = await imageOf(after, kind);
      await writeDifferences(node, image, chance);
      assert.equal(flat(folder.toTree()), flat(after), `seed ${seed}, round ${round}.${generation}`);
      assert.equal(flat(readFat(await content(node)).tree), flat(after), `seed ${seed}, round ${round}.${generation}: as read`);
    }
    await on.close(node);
  }
  assert.equal(on.warnings.splice(0), []);
});

test("a file in the way of another, names in a circle, a directory that changes places with what is in it", async () => {
  const cases: [FileTree, FileTree][] = [
    [
      { a: "first", b: "second" },
      { b: "first", a: "second" },
    ],
    [{ a: { b: { f: "x" } } }, { b: { a: { f: "x" } } }],
    [{ a: { f: "deep" } }, { a: "file now", f: "deep" }],
    [{ a: "file" }, { a: { a: { a: "file" } } }],
  ];
  for (const [before, after] of cases) {
    const folder = folderOf(before);
    const node = await open(folder, { floppy: true }, true);
    await writeDifferences(node, await imageOf(after, { floppy: true }), random(1));
    assert.equal(flat(folder.toTree()), flat(after));
    await on.close(node);
  }
});

/** A directory whose nth change fails, once. */
function failing(folder: Directory & { sync: SyncDirectoryFace }, nth: { left: number }): Directory {
  const sync = new Proxy(folder.sync, {
    get(target, name: keyof SyncDirectoryFace) {
      const verb = (target[name] as (...args: unknown[]) => unknown).bind(target);
      if (name === "list" || name === "read" || name === "close" || name === "flush") return verb;
      return (...args: unknown[]) => {
        if (nth.left-- === 0) throw errnoError("ENOSPC");
        return verb(...args);
      };
    },
  });
  return { name: folder.name, readOnly: false, sync, async: null };
}

test("a change that the host refuses fails the write, and is made up for by the next flush", async () => {
  const seed = chooseSeed();
  const chance = random(seed);
  let failures = 0;
  for (let round = 0; round < rounds(30); round++) {
    const [before, after] = [randomTree(chance), randomTree(chance)];
    const folder = folderOf(before);
    const nth = { left: chance.int(25) };
    const node = await open(failing(folder, nth), { floppy: true }, true);
    const image = await imageOf(after, { floppy: true });
    for (;;) {
      try {
        await writeDifferences(node, image, chance);
        break;
      } catch (error) {
        if (!/No space left/.test((error as Error).message)) throw error;
        failures++;
      }
    }
    await on.run(flush(node));
    assert.equal(flat(folder.toTree()), flat(after), `seed ${seed}, round ${round}`);
    await on.close(node);
  }
  assert.ok(failures > 5, `${failures} failures`);
});

test("a directory that holds more than the guest knows stays; one that cannot be removed fails the write", async () => {
  const empty = await imageOf({}, { floppy: true });
  const folder = folderOf({ d: {} });
  const known = await open(folder, { floppy: true }, true);
  folder.sync.createFile(["d", "unknown"]);
  await writeDifferences(known, empty, random(1));
  await on.close(known);
  assert.equal(flat(folder.toTree()), { "d/": "", "d/unknown": "" });
  assert.match(on.warnings.splice(0).join(), /^The directory 'd' was removed by the guest and stays/);
  folder.sync.remove(["d", "unknown"]);
  const node = await open(failing(folder, { left: 0 }), { floppy: true }, true);
  await fails(writeDifferences(node, empty, random(1)), /No space left/);
  await on.close(node);
  assert.equal(flat(folder.toTree()), {});
});

test("half written: the files stay, and closing says so", async () => {
  const folder = folderOf({ a: "one", b: "two" });
  const node = await open(folder, { floppy: true }, true);
  const fat = new Uint8Array(SECTOR);
  await on.run(read(node, fat, SECTOR));
  // A chain that belongs to nobody.
  fat[15] = 0xff;
  fat[16] = 0x0f;
  await on.run(write(node, fat, SECTOR));
  const back = new Uint8Array(SECTOR);
  await on.run(read(node, back, SECTOR));
  assert.equal(back, fat);
  assert.equal(flat(folder.toTree()), { a: "one", b: "two" });
  await on.close(node);
  assert.match(on.warnings.splice(0).join(), /The last changes of the guest are not in 'memory': cluster \d+ belongs to no file/);
});

test("names that lead out of the directory are never taken over", async () => {
  const bad = ["../up", "..", "a/b", "a\\b", "nul\u0001", "x:y"];
  for (const name of bad) {
    const folder = folderOf({ harmless: "x" });
    const node = await open(folder, { floppy: true }, true);
    const image = await imageOf({ ["y".repeat(name.length)]: "x" }, { floppy: true });
    // The long name is made up of the bad one's characters; the checksum is that of the short one, and stays.
    for (let at = 0; at < 1 << 16; at += 32) {
      if (image[at + 11] !== 0x0f || image[at] !== 0x41) continue;
      const places = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
      [...name].forEach((character, i) => (image[at + places[i]!] = character.charCodeAt(0)));
    }
    await writeDifferences(node, image, random(2));
    assert.equal(flat(folder.toTree()), { harmless: "x" }, name);
    await on.close(node);
  }
  assert.is(on.warnings.splice(0).length, bad.length);
});

test("a guest that writes nonsense meets errors at most, and the files have names the host can have", async () => {
  const seed = chooseSeed();
  const chance = random(seed);
  for (let round = 0; round < rounds(12); round++) {
    const folder = folderOf(randomTree(chance));
    const node = await open(folder, { floppy: true, "fat-type": chance.pick([12, 16]) }, true);
    const before = await content(node);
    for (let i = 0; i < 60; i++) {
      // FATs and directories are at the beginning; half of it is what was there with some bytes changed.
      const at = SECTOR * (1 + chance.int(chance.chance(0.8) ? 120 : node.size / SECTOR - 1));
      const bytes = chance.chance(0.3) ? chance.bytes(SECTOR) : before.slice(at, at + SECTOR);
      for (let n = chance.int(4); n > 0; n--)
        bytes[chance.int(SECTOR)] = chance.pick([0, 1, 0x10, 0x2e, 0x2f, 0xe5, 0xff, chance.int(256)]);
      await on.run(write(node, bytes, at)).catch((error: unknown) => {
        if (!(error instanceof BlockError)) throw error;
      });
    }
    await content(node);
    await on.close(node).catch((error: unknown) => {
      if (!(error instanceof BlockError)) throw error;
    });
    for (const name of Object.keys(flat(folder.toTree())))
      assert.not.match(name, /(^|\/)\.{0,2}\/|(^|\/)\.{1,2}$|[\0\\:]/, `seed ${seed}`);
  }
  on.warnings.splice(0);
});

test("the boot sector is not the guest's to write, but for its mark of use", async () => {
  const node = await open(folderOf({}), {}, true);
  const boot = new Uint8Array(SECTOR);
  await on.run(read(node, boot, 63 * SECTOR));
  boot[37] = 1;
  await on.run(write(node, boot, 63 * SECTOR));
  boot[13] = 1;
  await fails(on.run(write(node, boot, 63 * SECTOR)), /Tried to write to protected bootsector/);
  await fails(on.run(write(node, boot, 0)), /Tried to write to protected bootsector/);
  await on.run(read(node, boot, 63 * SECTOR));
  assert.is(boot[37], 1);
  assert.is(boot[13], 16);
  await on.close(node);
});

test.run();
