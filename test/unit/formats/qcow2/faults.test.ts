// time-limit: 900 s
/**
 * EIO and ENOSPC at every write and every flush of nineteen workloads, once and for ever: no corrupt image, no flushed byte lost, what
 * failed reads as before (or as it was to be). Without BLOCKCORE_LONG=1 a choice of the places.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { countCalls, runWithFault, type Trouble } from "../../../crash/faults.js";
import { BACKING_NAMES, type Machine } from "../../../crash/machine.js";
import { addBitmap, removeBitmap } from "../../../../src/block/named-bitmap.js";
import { loadOracle } from "../../../crash/oracle.js";
import type { Scenario } from "../../../crash/scenarios.js";
import { skip } from "../../../support/skip.js";

const KiB = 1024;
const long = process.env["BLOCKCORE_LONG"] === "1";
const wanted = process.env["BLOCKCORE_FAULTS"] ?? "";
const oracle = await loadOracle();

const fill = (m: Machine, to: number): void => {
  for (let at = 0; at < to; at += 2 * m.unit) m.write(at, m.unit);
};
/** The old structures are in force, and take changes. */
const goOn = (m: Machine): void => {
  for (const at of [0, 100 * KiB, 200 * KiB]) m.write(at, 8 * KiB);
  m.flush();
};
const WORKLOADS: readonly Scenario[] = [
  {
    name: "allocate",
    machine: { size: 1024 * KiB, create: { cluster_size: 4096 } },
    run: (m) => {
      m.write(0, 8 * KiB);
      m.flush();
      for (let i = 0; i < 4; i++) m.write(i * 128 * KiB + 512, 3 * KiB);
      m.flush();
    },
  },
  {
    name: "overwrite",
    machine: { size: 256 * KiB, create: { cluster_size: 4096 } },
    before: (m) => fill(m, 64 * KiB),
    run: (m) => {
      m.write(0, 4 * KiB);
      m.write(10 * KiB, 20 * KiB);
      m.flush();
      m.write(1024, 512);
    },
  },
  {
    name: "backing file",
    machine: { size: 256 * KiB, backing: 256 * KiB, create: { cluster_size: 4096 } },
    run: (m) => {
      m.write(512, 512);
      m.write(30 * KiB, 9 * KiB);
      m.flush();
      m.zero(64 * KiB, 8 * KiB, true);
      m.flush();
    },
  },
  {
    name: "compressed",
    machine: { size: 256 * KiB, create: { cluster_size: 4096 } },
    run: (m) => {
      for (let i = 0; i < 4; i++) m.compress(i * 8 * KiB, 4 * KiB);
      m.flush();
      m.compress(0, 8 * KiB);
      m.write(8 * KiB, 4 * KiB);
      m.flush();
      m.compress(64 * KiB, 4 * KiB);
    },
  },
  {
    name: "extended L2",
    machine: { size: 512 * KiB, create: { cluster_size: 65536, extended_l2: true } },
    run: (m) => {
      m.write(2 * KiB, 2 * KiB);
      m.flush();
      m.write(9 * KiB, 512);
      m.zero(2 * KiB, 2 * KiB);
      m.flush();
    },
  },
  {
    name: "lazy refcounts",
    machine: { size: 256 * KiB, create: { cluster_size: 4096, lazy_refcounts: true } },
    run: (m) => {
      m.write(0, 8 * KiB);
      m.flush();
      m.discard(0, 4 * KiB);
      m.write(64 * KiB, 4 * KiB);
      m.flush();
    },
  },
  {
    name: "version 2",
    machine: { size: 256 * KiB, create: { cluster_size: 4096, compat: "0.10" } },
    run: (m) => {
      m.write(0, 8 * KiB);
      m.flush();
      m.discard(0, 4 * KiB);
      m.write(64 * KiB, 4 * KiB);
      m.flush();
    },
  },
  {
    name: "zeros and discard",
    machine: { size: 256 * KiB, create: { cluster_size: 4096 } },
    before: (m) => fill(m, 64 * KiB),
    run: (m) => {
      m.zero(0, 16 * KiB, true);
      m.write(2 * KiB, 1024);
      m.flush();
      m.discard(16 * KiB, 16 * KiB);
      m.write(128 * KiB, 16 * KiB);
      m.flush();
      m.write(160 * KiB, 8 * KiB);
    },
  },
  {
    name: "small caches",
    machine: {
      size: 512 * KiB,
      create: { cluster_size: 512 },
      open: { "l2-cache-size": 1024, "l2-cache-entry-size": 512, "refcount-cache-size": 1024 },
    },
    run: (m) => {
      for (let i = 0; i < 8; i++) m.write(((i * 5) % 8) * 40 * KiB, 1024);
      m.flush();
      for (let i = 0; i < 8; i++) m.write(((i * 3) % 8) * 40 * KiB + 512, 1024);
    },
  },
  {
    name: "refcount table growth",
    machine: { size: 2560 * KiB, create: { cluster_size: 512, refcount_bits: 64 } },
    before: (m) => m.write(0, 1900 * KiB),
    run: (m) => {
      m.write(1950 * KiB, 40 * KiB);
      m.flush();
      m.write(2048 * KiB, 100 * KiB);
      m.flush();
      m.write(0, 4 * KiB);
    },
  },
  {
    name: "resize",
    machine: { size: 128 * KiB, create: { cluster_size: 512 } },
    before: (m) => fill(m, 64 * KiB),
    run: (m) => {
      m.write(100 * KiB, 2 * KiB);
      m.resize(2048 * KiB);
      m.write(1024 * KiB, 2 * KiB);
      m.resize(32 * KiB + 512);
      m.write(0, 512);
      m.flush();
    },
  },
  {
    name: "snapshot create",
    machine: { size: 256 * KiB, create: { cluster_size: 4096 } },
    before: (m) => fill(m, 64 * KiB),
    run: (m) => {
      m.write(0, 1024);
      m.createSnapshot("one");
      m.write(512, 1024);
      m.flush();
      m.createSnapshot("two");
      m.write(8 * KiB, 512);
    },
    afterFailure: goOn,
  },
  {
    name: "snapshot apply",
    machine: { size: 256 * KiB, create: { cluster_size: 4096 } },
    before: (m) => {
      fill(m, 64 * KiB);
      m.createSnapshot("one");
      m.write(0, 8 * KiB);
    },
    run: (m) => {
      m.write(8 * KiB, 1024);
      m.flush();
      m.applySnapshot("one");
      m.write(512, 1024);
      m.flush();
    },
  },
  {
    name: "snapshot delete",
    machine: { size: 256 * KiB, create: { cluster_size: 4096, compat: "0.10" } },
    before: (m) => {
      fill(m, 64 * KiB);
      m.createSnapshot("one");
      m.write(0, 8 * KiB);
      m.createSnapshot("two");
    },
    run: (m) => {
      m.write(8 * KiB, 1024);
      m.removeSnapshot("one");
      m.write(512, 1024);
      m.flush();
      m.removeSnapshot("two");
    },
    afterFailure: goOn,
  },
  {
    // More refcount blocks than the cache holds: their copies are written while they are still being made.
    name: "snapshot, refcounts copied through a small cache",
    machine: {
      size: 256 * KiB,
      create: { cluster_size: 512, refcount_bits: 64 },
      open: { "l2-cache-entry-size": 512, "refcount-cache-size": 1024 },
    },
    before: (m) => {
      m.write(0, 160 * KiB);
      // The guest goes on with free clusters of the first block, whose copy came to be before the failure.
      m.discard(0, 32 * KiB);
    },
    run: (m) => m.createSnapshot("one"),
    afterFailure: goOn,
  },
  {
    name: "whole image: empty",
    machine: { size: 128 * KiB, create: { cluster_size: 4096 } },
    before: (m) => fill(m, 64 * KiB),
    run: (m) => {
      m.empty();
      m.write(512, 4 * KiB);
      m.flush();
    },
  },
  {
    name: "whole image: amend",
    machine: { size: 128 * KiB, create: { cluster_size: 4096, compat: "0.10" } },
    before: (m) => {
      fill(m, 64 * KiB);
      m.createSnapshot("one");
    },
    run: (m) => {
      m.write(0, 4 * KiB);
      m.perform(m.impl.amend!({ compat: "1.1" }, () => {}, false));
      m.perform(m.impl.amend!({ refcount_bits: 64 }, () => {}, false));
      m.write(512, 4 * KiB);
      m.flush();
    },
  },
  {
    name: "whole image: bitmaps",
    machine: { size: 128 * KiB, create: { cluster_size: 512 } },
    before: (m) => {
      m.write(0, 4 * KiB);
      addBitmap(m.node, { name: "one", granularity: 4096, persistent: true });
    },
    run: (m) => {
      m.write(8 * KiB, 4 * KiB);
      m.flush();
      addBitmap(m.node, { name: "two", granularity: 4096, persistent: true });
      m.perform(removeBitmap(m.node, "one"));
      m.write(512, 4 * KiB);
    },
  },
  {
    name: "whole image: backing file name",
    machine: { size: 128 * KiB, backing: 128 * KiB, create: { cluster_size: 4096 } },
    run: (m) => {
      m.perform(m.impl.changeBackingFile!(BACKING_NAMES[2]!, "raw"));
      m.write(512, 4 * KiB);
      m.perform(m.impl.changeBackingFile!("b", null));
      m.flush();
    },
  },
];

const total = { runs: 0, withErrors: 0, withLeaks: 0, states: 0 };
for (const workload of WORKLOADS) {
  if (!workload.name.includes(wanted)) continue;
  test(`errors during: ${workload.name}`, async () => {
    if (oracle === null) return skip("the crash oracle is not there");
    const calls = await countCalls(workload);
    const found: string[] = [];
    for (const operation of ["write", "flush"] as const) {
      const step = long ? 1 : Math.max(1, Math.floor(calls[operation] / 12));
      for (let nth = 1; nth <= calls[operation]; nth += step) {
        for (const forever of [false, true]) {
          for (const partial of operation === "write" && (long || nth % 3 === 0) ? [0, 0.5] : [0]) {
            const errno = operation === "write" && nth % 2 === 0 ? "ENOSPC" : "EIO";
            const run = await runWithFault(workload, oracle, { operation, errno, nth, forever, partial, partialUnit: 512 });
            total.runs++;
            total.states += run.states;
            if (run.errors > 0) total.withErrors++;
            if (run.leaks > 0) total.withLeaks++;
            for (const text of run.violations)
              found.push(
                `${operation} ${nth} of ${calls[operation]}, ${forever ? "for ever" : "once"}, partial ${partial}: ${text}`,
              );
          }
        }
      }
    }
    assert.equal(found, []);
  });
}

/** Lets every call of a kind fail once (or, in short runs, `most` of them), in every workload. */
async function everywhere(operation: Trouble["operation"], most: number, trouble: (nth: number) => Trouble): Promise<void> {
  if (oracle === null) return skip("the crash oracle is not there");
  for (const workload of WORKLOADS) {
    if (!workload.name.includes(wanted)) continue;
    const count = (await countCalls(workload))[operation];
    const step = long ? 1 : Math.max(1, Math.floor(count / most));
    for (let nth = 1; nth <= count; nth += step) {
      const run = await runWithFault(workload, oracle, trouble(nth));
      total.runs++;
      total.states += run.states;
      if (run.errors > 0) total.withErrors++;
      assert.equal(run.violations, [], `${workload.name}, ${operation} ${nth} of ${count}`);
    }
  }
}

test("read errors are errors, at every read", () => everywhere("read", 8, (nth) => ({ operation: "read", errno: "EIO", nth })));

test("short reads are errors, at every read", () =>
  everywhere("read", 8, (nth) => ({ operation: "read", errno: "EIO", nth, short: true })));

test("no memory is an error, at every allocation", () => everywhere("allocate", 8, (nth) => ({ operation: "allocate", nth })));

test("how many", () => console.log(JSON.stringify(total)));

test.run();
