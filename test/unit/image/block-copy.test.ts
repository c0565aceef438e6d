import { test } from "uvu";
import * as assert from "uvu/assert";
import { runAsync, sleep, type Op } from "../../../src/block/op.js";
import { blockCopy, type CopyKind, type CopySource, type CopyTarget } from "../../../src/jobs/block-copy.js";

const KiB = 1024;
const CHUNK = 64 * KiB;

interface Run {
  length: number;
  kind: CopyKind;
  byte?: number;
}

function sourceOf(runs: readonly Run[]): CopySource & { size: number; asked: number } {
  let at = 0;
  const placed = runs.map((run) => ({ ...run, start: (at += run.length) - run.length }));
  const source = {
    size: at,
    asked: 0,
    // eslint-disable-next-line require-yield
    *status(offset: number, length: number): Op<{ length: number; kind: CopyKind }> {
      source.asked++;
      const run = placed.find((entry) => offset < entry.start + entry.length)!;
      return { length: Math.min(length, run.start + run.length - offset), kind: run.kind };
    },
    *read(into: Uint8Array, offset: number): Op<void> {
      // Later pieces come in earlier, to prove the order of writes.
      yield* sleep(5 - Math.min(4, offset / CHUNK));
      for (let i = 0; i < into.length; i++) {
        const run = placed.find((entry) => offset + i < entry.start + entry.length)!;
        into[i] = run.kind === "data" ? (run.byte ?? 1) : 0;
      }
    },
  };
  return source;
}

function targetOf(zeros: boolean): CopyTarget & { log: string[] } {
  const log: string[] = [];
  return {
    log,
    // eslint-disable-next-line require-yield
    *write(from: Uint8Array, offset: number): Op<void> {
      log.push(`write ${offset / KiB}+${from.length / KiB}`);
    },
    writeZeroes: zeros
      ? // eslint-disable-next-line require-yield
        function* (offset: number, length: number): Op<void> {
          log.push(`zero ${offset / KiB}+${length / KiB}`);
        }
      : null,
  };
}

const base = { parallel: 4, chunk: CHUNK, inOrder: true, detectZeroes: 4 * KiB };

test("data is written in order in pieces, zeros and what the backing file has are left out", async () => {
  const source = sourceOf([
    { length: 130 * KiB, kind: "data" },
    { length: 300 * KiB, kind: "zero" },
    { length: 100 * KiB, kind: "skip" },
    { length: 10 * KiB, kind: "data" },
  ]);
  const target = targetOf(false);
  const seen: string[] = [];
  await runAsync(
    blockCopy({
      ...base,
      source,
      target,
      size: source.size,
      onProgress: ({ done, total }) => seen.push(`${done / KiB}/${total / KiB}`),
    }),
  );
  assert.equal(target.log, ["write 0+64", "write 64+64", "write 128+2", "write 530+10"]);
  assert.is(seen[0], "0/140");
  assert.is(seen.at(-1), "140/140");
});

test("zeros are written where the target does not read as zeros", async () => {
  const source = sourceOf([
    { length: 64 * KiB, kind: "data" },
    { length: 300 * KiB, kind: "zero" },
  ]);
  const target = targetOf(true);
  await runAsync(blockCopy({ ...base, source, target, size: source.size }));
  assert.equal(target.log, ["write 0+64", "zero 64+300"]);
});

test("zeros inside data are found in aligned granules, short runs are kept", async () => {
  const source = sourceOf([
    { length: 6 * KiB, kind: "data" },
    { length: 12 * KiB, kind: "data", byte: 0 },
    { length: 14 * KiB, kind: "data" },
  ]);
  const target = targetOf(false);
  await runAsync(blockCopy({ ...base, source, target, size: source.size }));
  assert.equal(target.log, ["write 0+8", "write 16+16"]);
  const again = targetOf(false);
  await runAsync(blockCopy({ ...base, source, target: again, size: source.size, minZeroRun: 16 * KiB }));
  assert.equal(again.log, ["write 0+32"]);
});

test("without zero detection everything is written", async () => {
  const source = sourceOf([
    { length: 64 * KiB, kind: "zero" },
    { length: 64 * KiB, kind: "data" },
  ]);
  const target = targetOf(false);
  await runAsync(blockCopy({ ...base, source, target, size: source.size, detectZeroes: 0 }));
  assert.equal(target.log, ["write 0+64", "write 64+64"]);
});

test("pieces are whole units where the target asks for it", async () => {
  const source = sourceOf([
    { length: 3 * KiB, kind: "zero" },
    { length: 2 * KiB, kind: "data" },
    { length: 59 * KiB, kind: "zero" },
    { length: 70 * KiB, kind: "zero" },
    { length: 5 * KiB, kind: "data" },
  ]);
  const target = targetOf(false);
  await runAsync(blockCopy({ ...base, source, target, size: source.size, unit: 16 * KiB, detectZeroes: 16 * KiB }));
  for (const entry of target.log) {
    const [start, length] = entry.slice(6).split("+").map(Number) as [number, number];
    assert.is(start % 16, 0, entry);
    assert.ok(length % 16 === 0 || start + length === source.size / KiB, entry);
  }
  assert.equal(target.log, ["write 0+16", "write 128+11"]);
});

test("the first failure ends it, and nothing is written behind it", async () => {
  const source = sourceOf([{ length: 640 * KiB, kind: "data" }]);
  const target = targetOf(false);
  const failing: CopyTarget = {
    ...target,
    *write(from, offset) {
      if (offset >= 128 * KiB) throw new Error("disk on fire");
      yield* target.write(from, offset);
    },
  };
  try {
    await runAsync(blockCopy({ ...base, source, target: failing, size: source.size }));
    assert.unreachable("it should have failed");
  } catch (error) {
    assert.is((error as Error).message, "disk on fire");
  }
  assert.equal(target.log, ["write 0+64", "write 64+64"]);
});

test("long runs take few status calls", async () => {
  const source = sourceOf([{ length: 2 ** 40, kind: "zero" }]);
  await runAsync(blockCopy({ ...base, source, target: targetOf(false), size: source.size }));
  assert.ok(source.asked < 1100, `${source.asked} calls`);
});

test.run();
