/** Virtual FAT disks beside QEMU's and mtools. */
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { convert, open } from "../../src/node.js";
import { nodeEnvironment } from "../../src/platform/node-environment.js";
import { flush, write } from "../../src/block/io.js";
import { openNode } from "../../src/block/open.js";
import { runSync } from "../../src/block/op.js";
import { hasQemu, qemu } from "../support/qemu.js";
import { chooseSeed, random } from "../support/random.js";
import { skip } from "../support/skip.js";
import { tempPath } from "../support/temp.js";

const hasMtools = spawnSync("mdir", ["--version"]).status === 0;
const SECTOR = 512;
const PARTITION = 63 * SECTOR;

/** Sizes are whole clusters: what QEMU shows behind the end of a file is what it read before. */
function makeFolder(): string {
  const folder = tempPath("folder");
  const chance = random(7);
  fs.mkdirSync(join(folder, "sub", "deeper"), { recursive: true });
  fs.mkdirSync(join(folder, "Long name dir.x.y"));
  for (const [name, clusters] of Object.entries({
    "a.txt": 1,
    "big.BIN": 3,
    empty: 0,
    "FileLongName1.txt": 1,
    "FileLongName2.txt": 2,
    "sub/ünïcode naïve.text": 1,
    "sub/.hidden": 1,
    "sub/deeper/a+b,c;d.x.y": 1,
    "sub/deeper/日本語": 1,
  }))
    fs.writeFileSync(join(folder, name), chance.bytes(clusters * 8192));
  fs.symlinkSync("a.txt", join(folder, "link"));
  return folder;
}

test("the disk is QEMU's, byte for byte", async () => {
  if (!hasQemu) return skip("qemu-img is not installed");
  const folder = makeFolder();
  for (const kind of ["fat:", "fat:12:", "fat:floppy:", "fat:floppy:12:", "fat:floppy:16:"]) {
    const [ours, theirs] = [tempPath("ours.raw"), tempPath("theirs.raw")];
    await convert(`${kind}${folder}`, ours);
    qemu("qemu-img", "convert", "-O", "raw", `${kind}${folder}`, theirs);
    assert.is(spawnSync("cmp", [ours, theirs], { encoding: "utf8" }).stdout, "", kind);
    fs.rmSync(ours);
    fs.rmSync(theirs);
  }
});

test("FAT32 is one that others can read", async () => {
  if (!hasMtools) return skip("mtools is not installed");
  const folder = makeFolder();
  const disk = tempPath("fat32.raw");
  await convert(`fat:32:${folder}`, disk);
  const out = tempPath("out");
  fs.mkdirSync(out);
  const copied = spawnSync("mcopy", ["-s", "-n", "-i", `${disk}@@${PARTITION}`, "::", out], { encoding: "utf8" });
  assert.is(copied.status, 0, copied.stderr);
  assert.is(spawnSync("diff", ["-r", folder, out], { encoding: "utf8" }).stdout, "");
});

test("what mtools did to the disk is done to the files, in whatever order its sectors come", async () => {
  if (!hasMtools) return skip("mtools is not installed");
  const seed = chooseSeed();
  const chance = random(seed);
  const folder = makeFolder();
  fs.rmSync(join(folder, "link"));
  const disk = tempPath("disk.raw");
  const source = await open(`fat:12:${folder}`);
  const before = await source.read(0, source.size);
  await source.close();
  fs.writeFileSync(disk, before);
  const fresh = tempPath("fresh");
  fs.writeFileSync(fresh, chance.bytes(50_000));
  const on = ["-i", `${disk}@@${PARTITION}`];
  for (const [program, ...args] of [
    ["mcopy", "-o", fresh, "::sub/a new file"],
    ["mmd", "::new dir"],
    ["mcopy", "-o", fresh, "::new dir/copy"],
    ["mdel", "::a.txt"],
    ["mren", "::big.BIN", "::renamed file.bin"],
    ["mcopy", "-o", fresh, "::FileLongName1.txt"],
    ["mmove", "::sub/deeper", "::moved away"],
    ["mdeltree", "::Long name dir.x.y"],
  ]) {
    const run = spawnSync(program!, [...on, ...args], { encoding: "utf8", env: { ...process.env, LC_ALL: "C.UTF-8" } });
    assert.is(run.status, 0, `${program}: ${run.stderr}`);
  }
  const after = fs.readFileSync(disk);
  const warnings: string[] = [];
  const environment = nodeEnvironment({ warn: (message) => void warnings.push(message) });
  const node = runSync(openNode(environment, { filename: `fat:12:rw:${folder}`, driver: "vvfat", flags: { write: true } }));
  const sectors = Array.from({ length: after.length / SECTOR }, (_, i) => i * SECTOR).filter(
    (at) => Buffer.compare(before.subarray(at, at + SECTOR), after.subarray(at, at + SECTOR)) !== 0,
  );
  while (sectors.length > 0) {
    const [at] = sectors.splice(chance.int(sectors.length), 1);
    runSync(write(node, after.subarray(at!, at! + SECTOR), at!));
  }
  runSync(flush(node));
  runSync(node.unref());
  assert.equal(warnings, [], `seed ${seed}`);
  const out = tempPath("out");
  fs.mkdirSync(out);
  assert.is(spawnSync("mcopy", ["-s", "-n", ...on, "::", out]).status, 0);
  assert.is(spawnSync("diff", ["-r", folder, out], { encoding: "utf8" }).stdout, "", `seed ${seed}`);
  assert.ok(fs.existsSync(join(folder, "moved away", "日本語")));
});

test.run();
