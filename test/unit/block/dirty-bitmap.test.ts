import { suite } from "uvu";
import * as assert from "uvu/assert";
import { DirtyBitmap } from "../../../src/block/dirty-bitmap.js";
import { random } from "../../support/random.js";

const bitmap = suite("dirty bitmap");
const MiB = 1048576;

bitmap("marks whole granules, clears only what lies inside", () => {
  const bits = new DirtyBitmap(10 * MiB, 65536);
  bits.set(65535, 2);
  assert.is(bits.count, 131072);
  assert.ok(bits.isDirty(0) && bits.isDirty(131071) && !bits.isDirty(131072));
  bits.clear(1, 131070);
  assert.is(bits.count, 131072, "neither granule is covered whole");
  bits.clear(0, 131071);
  assert.equal([...bits.runs()], [{ offset: 65536, length: 65536 }]);
});

bitmap("the last granule of a disk may be short", () => {
  const bits = new DirtyBitmap(100_000, 65536);
  bits.set(99_999, 10 * MiB);
  assert.equal([...bits.runs()], [{ offset: 65536, length: 34_464 }]);
  bits.clear(65536, 34_464);
  assert.is(bits.count, 0);
});

bitmap("merges across granularities", () => {
  const fine = new DirtyBitmap(8 * MiB, 512);
  fine.set(512, 512);
  fine.set(5 * MiB, MiB);
  const coarse = new DirtyBitmap(8 * MiB, MiB);
  coarse.merge(fine);
  assert.equal(
    [...coarse.runs()],
    [
      { offset: 0, length: MiB },
      { offset: 5 * MiB, length: MiB },
    ],
  );
  const again = new DirtyBitmap(8 * MiB, 4096);
  again.merge(coarse);
  assert.is(again.count, 2 * MiB);
});

bitmap("shrinking forgets, growing adds clean space", () => {
  const bits = new DirtyBitmap(1024 * MiB, 512);
  bits.set(0, 1024 * MiB);
  bits.resize(600 * MiB + 512);
  assert.is(bits.count, 600 * MiB + 512);
  bits.resize(1024 * MiB);
  assert.equal([...bits.runs()], [{ offset: 0, length: 600 * MiB + 512 }]);
});

bitmap("costs what it holds", () => {
  const before = process.memoryUsage().arrayBuffers;
  const bits = new DirtyBitmap(2 ** 52, 512);
  bits.set(2 ** 51, 1);
  assert.equal(bits.nextDirty(0), { offset: 2 ** 51, length: 512 });
  assert.ok(process.memoryUsage().arrayBuffers - before < 100_000);
});

bitmap("bytes hold one bit a granule, least significant first", () => {
  const bits = new DirtyBitmap(20 * 512, 512);
  bits.set(512, 1);
  bits.set(9 * 512, 11 * 512);
  const bytes = new Uint8Array(4);
  bits.readBytes(bytes, 0);
  assert.equal([...bytes], [0x02, 0xfe, 0x0f, 0]);
  const other = new DirtyBitmap(20 * 512, 512);
  other.orBytes(Uint8Array.of(0x02, 0xfe, 0xff, 0xff), 0);
  assert.equal([...other.runs()], [...bits.runs()], "bits behind the end do not count");
  other.setBytes(0, 1);
  assert.is(other.kindOf(0, 1), "ones");
  assert.is(other.kindOf(0, 2), "mixed");
});

bitmap("agrees with an array of flags", () => {
  const seed = Number(process.env["SEED"] ?? Date.now() % 1e6);
  const chance = random(seed);
  for (let round = 0; round < 30; round++) {
    const granularity = 2 ** (9 + chance.int(4));
    // Sizes around one page of bits, with ends that are no multiples of anything.
    let size = granularity * (1 + chance.int(70_000)) - chance.int(granularity);
    const bits = new DirtyBitmap(size, granularity);
    let flags = new Uint8Array(Math.ceil(size / granularity));
    for (let step = 0; step < 40; step++) {
      const offset = chance.int(size);
      const length = chance.chance(0.3) ? size - offset : chance.int(Math.min(size - offset, 2 ** chance.int(40)) + 1);
      const what = chance.int(10);
      if (what < 5) {
        bits.set(offset, length);
        if (length > 0) flags.fill(1, Math.floor(offset / granularity), Math.ceil((offset + length) / granularity));
      } else if (what < 9) {
        bits.clear(offset, length);
        const first = Math.ceil(offset / granularity);
        const last = offset + length >= size ? flags.length : Math.floor((offset + length) / granularity);
        if (last > first) flags.fill(0, first, last);
      } else {
        size = granularity * (1 + chance.int(70_000));
        bits.resize(size);
        const next = new Uint8Array(Math.ceil(size / granularity));
        next.set(flags.subarray(0, next.length));
        flags = next;
      }
      const count = flags.reduce((sum, flag) => sum + flag, 0);
      assert.is(bits.count, count * granularity, `count, seed ${seed} round ${round} step ${step}`);
    }
    const seen = new Uint8Array(flags.length);
    for (const run of bits.runs()) seen.fill(1, run.offset / granularity, Math.ceil((run.offset + run.length) / granularity));
    assert.equal(Buffer.compare(seen, flags), 0, `runs, seed ${seed} round ${round}`);
    const at = chance.int(size);
    const dirty = flags.indexOf(1, Math.floor(at / granularity));
    assert.is(bits.nextDirty(at)?.offset ?? -1, dirty < 0 ? -1 : Math.max(at, dirty * granularity), `nextDirty, seed ${seed}`);
    const clean = flags.indexOf(0, Math.floor(at / granularity));
    assert.is(bits.nextClean(at), clean < 0 ? -1 : Math.max(at, clean * granularity), `nextClean, seed ${seed}`);
    // Through bytes, in pieces.
    const copy = new DirtyBitmap(size, granularity);
    const piece = new Uint8Array(1 + chance.int(5000));
    for (let from = 0; from < bits.byteLength; from += piece.length) {
      bits.readBytes(piece, from);
      copy.orBytes(piece, from);
    }
    assert.equal([...copy.runs()], [...bits.runs()], `bytes, seed ${seed} round ${round}`);
  }
});

bitmap.run();
