// time-limit: 120 s
/**
 * Crashes of the block formats at any moment: what was flushed is there, what was not is old or new, nothing is used twice, and going
 * on afterwards disturbs nothing. A flush is a barrier; of the writes after it any may be lost, or torn at a sector.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { equalBytes } from "../../../../src/base/bytes.js";
import type { Driver } from "../../../../src/block/driver.js";
import { flush, read, write, writeZeroes } from "../../../../src/block/io.js";
import type { Node } from "../../../../src/block/node.js";
import { openNode } from "../../../../src/block/open.js";
import { runSync, type Op } from "../../../../src/block/op.js";
import { blockStatus } from "../../../../src/block/status.js";
import { storageNode } from "../../../../src/block/storage-node.js";
import { createImage } from "../../../../src/block/create.js";
import { parallels } from "../../../../src/formats/parallels/parallels.js";
import { qcow } from "../../../../src/formats/qcow/qcow.js";
import { qed } from "../../../../src/formats/qed/qed.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { vdi } from "../../../../src/formats/vdi/vdi.js";
import { vhdx } from "../../../../src/formats/vhdx/vhdx.js";
import { vpc } from "../../../../src/formats/vpc/vpc.js";
import { memoryStorage, type MemoryStorage } from "../../../../src/storage/memory.js";
import { chooseSeed, random, type Random } from "../../../support/random.js";
import { recordingStorage, type LogLine } from "../../../support/recording.js";
import { makeWorld } from "../../../support/world.js";

const seeds = Number(process.env["BLOCKCORE_SEEDS"] ?? 30);
const first = chooseSeed();
const { environment, files } = makeWorld({ mode: "sync", drivers: [raw, vdi, vpc, vhdx, parallels, qed, qcow] });
const go = <T>(op: Op<T>): T => runSync(op);

interface GuestWrite {
  /** Position in the log when it was issued. */
  line: number;
  offset: number;
  bytes: Uint8Array;
}
interface Run {
  before: MemoryStorage;
  lines: readonly LogLine[];
  writes: GuestWrite[];
  /** Content that was durable from this log position on. */
  stable: { line: number; content: Uint8Array }[];
}

function openOn(
  driver: Driver,
  storage: MemoryStorage | ReturnType<typeof recordingStorage>,
  writable: boolean,
  check = false,
): Node {
  const file = go(storageNode(environment, storage, { write: writable }));
  const node = go(
    openNode(environment, { driver: driver.name, options: { file }, flags: { write: writable, unmap: writable, check } }),
  );
  go(file.unref());
  return node;
}

/** A parent of `size` bytes: what it holds. */
function makeParent(driver: Driver, size: number): Uint8Array {
  files.delete("parent");
  go(createImage(environment, { driver, filename: "parent", size, options: { force_size: true } }));
  const content = new Uint8Array(size).map((_, at) => 1 + ((at >>> 9) % 251));
  const node = go(openNode(environment, { driver: driver.name, filename: "parent", flags: { write: true } }));
  go(write(node, content, 0));
  go(node.unref());
  return content;
}

function record(driver: Driver, isDifferencing: boolean, chance: Random): Run {
  const medium = memoryStorage(0, { name: "image" });
  const file = go(storageNode(environment, medium));
  const size = 512 * (1 + chance.int(14_000));
  const options = isDifferencing
    ? { backing_file: "parent" }
    : driver === vpc
      ? { force_size: true }
      : driver === parallels
        ? { cluster_size: chance.pick([4096, 65536, 1 << 20]) }
        : {};
  const content = isDifferencing ? makeParent(driver, size) : new Uint8Array(size);
  go(createImage(environment, { driver, filename: "image", size, options, file }));
  const before = medium.snapshot();
  const recording = recordingStorage(medium.snapshot());
  go(file.unref());
  const node = openOn(driver, recording, true);
  const run: Run = { before, lines: recording.lines, writes: [], stable: [{ line: 0, content: content.slice() }] };
  for (let i = 4 + chance.int(20); i > 0; i--) {
    if (chance.chance(0.25)) {
      go(flush(node));
      run.stable.push({ line: recording.lines.length, content: content.slice() });
      continue;
    }
    const length = 1 + chance.int(Math.min(size, chance.pick([700, 40_000, 300_000])));
    const offset = chance.int(size - length + 1);
    const zero = chance.chance(0.15);
    const bytes = new Uint8Array(length).fill(zero ? 0 : 1 + chance.int(255));
    run.writes.push({ line: recording.lines.length, offset, bytes });
    go(zero ? writeZeroes(node, offset, length, { mayUnmap: chance.chance(0.5) }) : write(node, bytes, offset));
    content.set(bytes, offset);
  }
  if (chance.chance(0.5)) {
    go(node.unref());
    run.stable.push({ line: recording.lines.length, content: content.slice() });
  }
  return run;
}

/** The medium after a crash when `point` lines had been performed. */
function crash(run: Run, point: number, chance: Random): MemoryStorage {
  const after = run.before.snapshot();
  let durable = 0;
  for (let i = 0; i < point; i++) if (run.lines[i]!.op === "f") durable = i;
  const keep = chance.pick([0, 0.5, 0.9, 1]);
  for (let i = 0; i < point; i++) {
    if (i > durable && !chance.chance(keep)) continue;
    perform(after, run.lines[i]!, i > durable ? chance : null);
  }
  return after;
}

function perform(medium: MemoryStorage, line: LogLine, tear: Random | null): void {
  switch (line.op) {
    case "w": {
      const bytes = "fill" in line ? new Uint8Array(line.n).fill(line.fill) : new Uint8Array(Buffer.from(line.b64, "base64"));
      if (tear === null || !tear.chance(0.2)) {
        medium.sync.write(bytes, line.o);
        return;
      }
      // Sectors of the file reach the medium whole or not at all.
      for (let at = 0; at < bytes.length;) {
        const next = Math.min(bytes.length, at + 512 - ((line.o + at) % 512));
        if (tear.chance(0.5)) medium.sync.write(bytes.subarray(at, next), line.o + at);
        at = next;
      }
      return;
    }
    case "z":
    case "d": {
      const end = Math.min(line.o + line.n, medium.sync.size());
      if (end > line.o) medium.sync.write(new Uint8Array(end - line.o), line.o);
      return;
    }
    case "t":
      medium.sync.truncate(line.n);
      return;
    default:
      return;
  }
}

function verify(run: Run, point: number, node: Node, extra: (at: number) => boolean): void {
  const stable = run.stable.filter(({ line }) => line <= point).at(-1)!;
  const bytes = new Uint8Array(node.size);
  go(read(node, bytes, 0));
  const later = run.writes.filter(({ line }) => line >= stable.line && line <= point);
  for (let at = 0; at < bytes.length; at++) {
    if (at % 4096 === 0) {
      // Most of it is as it was: not byte by byte.
      const end = Math.min(at + 4096, bytes.length);
      if (equalBytes(bytes.subarray(at, end), stable.content.subarray(at, end))) {
        at = end - 1;
        continue;
      }
    }
    if (bytes[at] === stable.content[at] || extra(at)) continue;
    if (
      later.some(
        ({ offset, bytes: written }) => at >= offset && at < offset + written.length && written[at - offset] === bytes[at],
      )
    )
      continue;
    throw new Error(`byte ${at} is ${bytes[at]}; flushed was ${stable.content[at]}`);
  }
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
  if (impl.shape !== "mapped") return [];
  const found = sharedSpace(node);
  if (impl.check === undefined) return found;
  go(impl.check({ fix: "none", report: ({ text, severity }) => void (severity === "corruption" && found.push(text)) }));
  return found.filter((text) => !text.includes("allocated blocks mismatch") && !text.includes("was not closed correctly"));
}

for (const [driver, isDifferencing] of [
  [vdi, false],
  [parallels, false],
  [qed, false],
  [qcow, false],
  [vpc, false],
  [vpc, true],
  [vhdx, true],
] as const) {
  const name = `${driver.name}${isDifferencing ? " over a parent" : ""}`;
  // Their files are large.
  const runs = isDifferencing ? Math.ceil(seeds / 6) : seeds;
  test(`${name}: crashes in ${runs} random runs`, () => {
    console.log(`SEED=${first} (${name})`);
    let states = 0;
    for (let seed = first; seed < first + runs; seed++) {
      const chance = random(seed);
      const run = record(driver, isDifferencing, chance);
      for (let i = 0; i < 12; i++, states++) {
        const point = chance.int(run.lines.length + 1);
        try {
          const medium = crash(run, point, chance);
          const looked = openOn(driver, medium.snapshot(), false, true);
          verify(run, point, looked, () => false);
          assert.equal(damage(looked), []);
          go(looked.unref());
          // Going on after the crash: new blocks must not take what is in use.
          const node = openOn(driver, medium, true, true);
          const impl = node.impl;
          if (driver === parallels && impl.shape === "mapped") go(impl.check!({ fix: "all", report: () => {} }));
          const length = Math.min(node.size, 90_000);
          const offset = chance.int(node.size - length + 1);
          go(write(node, new Uint8Array(length).fill(0x5a), offset));
          go(flush(node));
          verify(run, point, node, (at) => at >= offset && at < offset + length);
          assert.equal(damage(node), []);
          go(node.unref());
        } catch (error) {
          throw new Error(`seed ${seed}, crash ${i} at line ${point} of ${run.lines.length}: ${(error as Error).stack}`, {
            cause: error,
          });
        }
      }
    }
    console.log(`${states} crash states`);
  });
}

test.run();
