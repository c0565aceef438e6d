/** Block status: what a walk remembers never changes an answer. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { read, write, writeZeroes } from "../../../src/block/io.js";
import type { Node } from "../../../src/block/node.js";
import { blockStatus, StatusCache } from "../../../src/block/status.js";
import { FileRuns } from "../../../src/block/status-cache.js";
import { qcow2 } from "../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../src/formats/raw/raw.js";
import { mapImage } from "../../../src/image/map.js";
import { random } from "../../support/random.js";
import { makeWorld, MODES } from "../../support/world.js";

const KiB = 1024;
const seed = Number(process.env["SEED"] ?? Date.now() % 1e6);

const unit = suite(`block status (seed ${seed})`);

unit("runs of a file are found in any order of asking", () => {
  const chance = random(seed);
  for (let round = 0; round < 50; round++) {
    const runs = new FileRuns();
    const known = new Map<number, boolean>();
    for (let i = 0; i < 60; i++) {
      const offset = chance.int(500);
      const run = { offset, length: 1 + chance.int(40), data: Math.floor(offset / 7) % 2 === 0 };
      runs.add(run);
      const clash = known.has(offset);
      if (!clash) for (let at = offset; at < offset + run.length && !known.has(at); at++) known.set(at, run.data);
      for (let probe = 0; probe < 10; probe++) {
        const at = chance.int(560);
        const found = runs.find(at);
        assert.is(found?.data, known.get(at), `place ${at}`);
        if (found !== null) assert.ok(found.offset <= at && at < found.offset + found.length);
      }
    }
  }
});

for (const mode of MODES) {
  unit(`${mode}: a walk with a memory says what one without says`, async () => {
    const chance = random(seed + 1);
    for (let round = 0; round < 6; round++) {
      const w = makeWorld({ mode, seed: chance.int(1e9), drivers: [qcow2, raw] });
      // Tables that point at holes of the file, or a backing file below.
      const preallocated = round % 2 === 0;
      const size = 512 * (400 + chance.int(3000)) * (preallocated ? 10 : 1);
      const cluster = chance.pick(preallocated ? [4 * KiB, 64 * KiB] : [512, 4 * KiB, 64 * KiB]);
      await w.create("raw", "base.raw", size, {});
      await w.create("qcow2", "top.qcow2", size, {
        cluster_size: cluster,
        ...(preallocated ? { preallocation: "metadata" } : { backing_file: "base.raw", backing_fmt: "raw" }),
      });
      const scribble = async (node: Node): Promise<void> => {
        for (let i = 0; i < 15; i++) {
          const offset = 512 * chance.int(size / 512);
          const length = Math.min(size - offset, 512 * (1 + chance.int(60)));
          if (chance.chance(0.3)) await w.run(writeZeroes(node, offset, length, { mayUnmap: true }));
          else await w.run(write(node, new Uint8Array(length).fill(1 + chance.int(3)), offset));
        }
        await w.close(node);
      };
      await scribble(await w.open("raw", "base.raw"));
      await scribble(await w.open("qcow2", "top.qcow2"));
      const node = await w.open("qcow2", "top.qcow2", {});
      const cache = new StatusCache();
      let holes = 0;
      let back = 10;
      for (let at = 0; at < size;) {
        const asked = Math.min(size - at, 512 * (1 + chance.int(400)));
        const plain = await w.run(blockStatus(node, at, asked));
        const kept = await w.run(blockStatus(node, at, asked, { cache }));
        assert.equal(Object.keys(kept).sort(), Object.keys(plain).sort());
        assert.is(kept.file, plain.file);
        assert.equal({ ...kept, file: null }, { ...plain, file: null }, `at ${at}, ${asked} bytes`);
        if (plain.zero && plain.data) holes++;
        // Now and then back to where it was before.
        if (back > 0 && chance.chance(0.2)) {
          back--;
          at = 512 * chance.int(at / 512 + 1);
        } else {
          at += plain.length;
        }
      }
      assert.is(holes > 0, preallocated);
      let end = 0;
      const bytes = new Uint8Array(size);
      await w.run(read(node, bytes, 0));
      await w.run(
        mapImage(node, (entry) => {
          assert.is(entry.start, end);
          end += entry.length;
          if (entry.zero)
            assert.ok(
              bytes.subarray(entry.start, end).every((byte) => byte === 0),
              `zeros at ${entry.start}`,
            );
        }),
      );
      assert.is(end, size);
      await w.close(node);
    }
  });
}

unit.run();
