// time-limit: 240 s
/**
 * Power failures of images of the formats that are not qcow2. A workload is recorded and cut at many points: the image opens, looking
 * changes nothing, what was flushed is there and what was not is old or new, nothing is used twice, and going on afterwards disturbs
 * nothing. SEED=n starts at another seed, BLOCKCORE_SEEDS=n records that many workloads a format (a sixth of it where files are large),
 * BLOCKCORE_FORMAT=text only those of formats whose name contains it.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { flush, read, write, writeZeroes } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import { openNode } from "../../src/block/open.js";
import { runSync, type Op } from "../../src/block/op.js";
import { blockStatus } from "../../src/block/status.js";
import { storageNode } from "../../src/block/storage-node.js";
import { cow } from "../../src/formats/cow/cow.js";
import { parallels } from "../../src/formats/parallels/parallels.js";
import { qcow } from "../../src/formats/qcow/qcow.js";
import { qed } from "../../src/formats/qed/qed.js";
import { raw } from "../../src/formats/raw/raw.js";
import { vdi } from "../../src/formats/vdi/vdi.js";
import { vhdx } from "../../src/formats/vhdx/vhdx.js";
import { vmdk } from "../../src/formats/vmdk/vmdk.js";
import { vpc } from "../../src/formats/vpc/vpc.js";
import { memoryStorage, type MemoryStorage } from "../../src/storage/memory.js";
import type { Storage } from "../../src/storage/storage.js";
import { failPower, Guest } from "../support/power-failure.js";
import { chooseSeed, random, type Random } from "../support/random.js";
import { recordingStorage, type LogLine } from "../support/recording.js";
import { makeWorld } from "../support/world.js";

const MiB = 1 << 20;
const SECTOR = 512;
const CUTS = 12;
const seeds = Number(process.env["BLOCKCORE_SEEDS"] ?? 30);
const first = chooseSeed();
const only = process.env["BLOCKCORE_FORMAT"];
const drivers = [raw, vdi, vpc, vhdx, parallels, qed, qcow, cow, vmdk];
const world = makeWorld({ mode: "sync", drivers });
const { environment } = world;
const go = <T>(op: Op<T>): T => runSync(op);

interface Kind {
  driver: string;
  options?: (chance: Random) => Record<string, unknown>;
  /** The image is made over another one of its format, which has these options. */
  parent?: Record<string, unknown>;
  hasLargeFiles?: boolean;
  /** An image that was not closed opens for writing only to be checked. */
  isRefusedUnclean?: boolean;
}
const kinds: readonly Kind[] = [
  { driver: "vdi" },
  {
    driver: "parallels",
    options: (chance) => ({ cluster_size: chance.pick([4096, 65536, MiB]) }),
    isRefusedUnclean: true,
  },
  { driver: "qed" },
  { driver: "qcow" },
  { driver: "cow" },
  { driver: "vpc", options: () => ({ force_size: true }) },
  { driver: "vpc", parent: { force_size: true }, hasLargeFiles: true },
  {
    driver: "vhdx",
    options: (chance) => ({ block_size: MiB, block_state_zero: chance.chance(0.5) }),
    hasLargeFiles: true,
  },
  { driver: "vhdx", parent: {}, hasLargeFiles: true },
  { driver: "vmdk", options: (chance) => ({ zeroed_grain: chance.chance(0.5) }), hasLargeFiles: true },
];

interface Run {
  before: Uint8Array;
  lines: readonly LogLine[];
  guest: Guest;
}

/** The image on a storage that logs. */
function openLogged({ driver }: Kind, storage: Storage): Node {
  const file = go(storageNode(environment, storage, { write: true }));
  try {
    return go(openNode(environment, { driver, options: { file }, flags: { write: true, unmap: true } }));
  } finally {
    go(file.unref());
  }
}
function contentOf(node: Node): Uint8Array {
  const bytes = new Uint8Array(node.size);
  go(read(node, bytes, 0));
  return bytes;
}

/** A parent of `size` bytes: what it holds. */
async function makeParent({ driver, parent }: Kind, size: number): Promise<Uint8Array> {
  await world.create(driver, "parent", size, parent);
  const content = new Uint8Array(size).map((_, at) => 1 + ((at >>> 9) % 251));
  const node = await world.open(driver, "parent", { write: true });
  go(write(node, content, 0));
  await world.close(node);
  return content;
}

async function record(kind: Kind, chance: Random): Promise<Run> {
  world.files.clear();
  const size = SECTOR * (1 + chance.int(14_000));
  const guest = new Guest(kind.parent === undefined ? new Uint8Array(size) : await makeParent(kind, size));
  await world.create(kind.driver, "image", size, kind.parent === undefined ? kind.options?.(chance) : { backing_file: "parent" });
  const before = world.bytes("image");
  const storage = recordingStorage(memoryStorage(before));
  const node = openLogged(kind, storage);
  const { lines } = storage;
  // Some guests write whole sectors, as disks have them.
  const unit = chance.chance(0.5) ? SECTOR : 1;
  for (let i = 4 + chance.int(20); i > 0; i--) {
    if (chance.chance(0.25)) {
      go(flush(node));
      guest.flushed(lines.length);
      continue;
    }
    const length = unit * (1 + chance.int(Math.min(size, chance.pick([700, 40_000, 300_000, 1_500_000])) / unit));
    const offset = unit * chance.int((size - length) / unit + 1);
    const zero = chance.chance(0.15);
    const bytes = new Uint8Array(length).fill(zero ? 0 : 1 + chance.int(255));
    if (!zero) for (let at = 0; at < length; at += SECTOR) bytes[at] = chance.int(256);
    guest.writes(lines.length, offset, bytes);
    go(zero ? writeZeroes(node, offset, length, { mayUnmap: chance.chance(0.5) }) : write(node, bytes, offset));
  }
  if (chance.chance(0.5)) {
    go(node.unref());
    guest.flushed(lines.length);
  }
  return { before, lines, guest };
}

/** Places of the file that two guest ranges use. */
function sharedSpace(node: Node): string[] {
  const ranges: [number, number][] = [];
  for (let at = 0; at < node.size;) {
    const status = go(blockStatus(node, at, node.size - at, { wantZero: false }));
    if (status.offset >= 0 && status.file === node.file) ranges.push([status.offset, status.length]);
    at += status.length;
  }
  ranges.sort((a, b) => a[0] - b[0]);
  const found: string[] = [];
  for (let i = 1; i < ranges.length; i++) {
    if (ranges[i - 1]![0] + ranges[i - 1]![1] > ranges[i]![0]) found.push(`offset ${ranges[i]![0]} is used twice`);
  }
  return found;
}

/** Findings that a crash does not excuse. */
function damage(node: Node): string[] {
  const impl = node.impl;
  const found = sharedSpace(node);
  if (impl.shape !== "mapped" || impl.check === undefined) return found;
  go(impl.check({ fix: "none", report: ({ text, severity }) => void (severity === "corruption" && found.push(text)) }));
  return found.filter((text) => !text.includes("allocated blocks mismatch") && !text.includes("was not closed correctly"));
}

/** Judges the medium after a power failure, then goes on with it. */
async function judge(kind: Kind, medium: MemoryStorage, guest: Guest, cut: number, chance: Random): Promise<void> {
  world.files.set("image", medium);
  const flags = { check: kind.isRefusedUnclean === true || chance.chance(0.5) };
  const crashed = medium.toBytes();
  const looked = await world.open(kind.driver, "image", flags);
  const seen = contentOf(looked);
  guest.verify(seen, cut);
  assert.equal(damage(looked), []);
  await world.close(looked);
  assert.is(Buffer.compare(medium.toBytes(), crashed), 0, "reading changed the file");
  // Going on: what the log of the image had is now in the file, and new blocks take nothing that is in use.
  const node = await world.open(kind.driver, "image", { write: true, unmap: true, ...flags });
  const impl = node.impl;
  if (kind.isRefusedUnclean === true && impl.shape === "mapped") go(impl.check!({ fix: "all", report: () => {} }));
  assert.is(Buffer.compare(contentOf(node), seen), 0, "opened for writing it is another image");
  const length = Math.min(node.size, 90_000);
  const offset = chance.int(node.size - length + 1);
  seen.fill(0x5a, offset, offset + length);
  go(write(node, seen.subarray(offset, offset + length), offset));
  go(flush(node));
  assert.is(Buffer.compare(contentOf(node), seen), 0, "life after the failure");
  assert.equal(damage(node), []);
  await world.close(node);
  const last = await world.open(kind.driver, "image", {});
  assert.is(Buffer.compare(contentOf(last), seen), 0, "life after the failure, opened again");
  await world.close(last);
}

for (const kind of kinds) {
  const name = `${kind.driver}${kind.parent === undefined ? "" : " over a parent"}`;
  if (only !== undefined && !name.includes(only)) continue;
  const runs = kind.hasLargeFiles === true ? Math.ceil(seeds / 6) : seeds;
  test(`${name}: ${runs} workloads, cut at many points`, async () => {
    console.log(`SEED=${first} (${name}: ${runs} workloads)`);
    for (let seed = first; seed < first + runs; seed++) {
      const chance = random(seed);
      const { before, lines, guest } = await record(kind, chance);
      for (let i = 0; i < CUTS; i++) {
        const cut = i === 0 ? lines.length : chance.int(lines.length + 1);
        try {
          await judge(kind, failPower(before, lines, cut, chance), guest, cut, chance);
        } catch (error) {
          throw new Error(`seed ${seed}, cut ${i} at line ${cut} of ${lines.length}: ${(error as Error).stack}`, {
            cause: error,
          });
        }
      }
    }
    console.log(`${runs * CUTS} crash states`);
  });

  test(`${name}: without its flushes the same workload loses data`, async () => {
    // The judge itself can fail.
    let lost = 0;
    for (let seed = first; seed < first + 20 && lost === 0; seed++) {
      const chance = random(seed);
      const { before, lines, guest } = await record(kind, chance);
      const unordered = lines.map((line): LogLine => (line.op === "f" ? { op: "mark", s: "no flush" } : line));
      for (let i = 0; i < CUTS && lost === 0; i++) {
        try {
          await judge(kind, failPower(before, unordered, lines.length, chance), guest, lines.length, chance);
        } catch {
          lost++;
        }
      }
    }
    assert.ok(lost > 0, "nothing was ever lost without flushes");
  });
}

test.run();
