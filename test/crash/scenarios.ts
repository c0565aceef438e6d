/** What happens to an image while the power may fail. */
import { random, type Random } from "../support/random.js";
import { between, weighted } from "../support/choices.js";
import { addBitmap, removeBitmap } from "../../src/block/named-bitmap.js";
import type { Op } from "../../src/block/op.js";
import { BACKING_NAMES, type Machine, type MachineOptions } from "./machine.js";

export interface Scenario {
  name: string;
  machine: MachineOptions;
  /** Before recording begins; the image is closed and opened again after it. */
  before?(machine: Machine): void;
  run(machine: Machine): void | Promise<void>;
  /** What the guest does when an operation on the whole image failed that leaves its disk as it was. */
  afterFailure?(machine: Machine): void;
  /** Breaks the driver at the beginning of the recorded session: for tests that the judge notices. */
  sabotage?(machine: Machine): void;
}

const KiB = 1024;
const MiB = 1024 * KiB;

const list: Scenario[] = [];
function scenario(name: string, machine: MachineOptions, run: Scenario["run"], before?: Scenario["before"]): void {
  list.push(before === undefined ? { name, machine, run } : { name, machine, run, before });
}

/** Fills a range in pieces of a cluster, so that clusters are not all in a row. */
function fill(m: Machine, offset: number, length: number): void {
  const unit = m.unit;
  for (let at = offset; at < offset + length; at += 2 * unit) m.write(at, unit);
  for (let at = offset + unit; at < offset + length; at += 2 * unit) m.write(at, unit);
}

// ---- allocation -----------------------------------------------------------------------------------------------------

const SIZES: readonly [string, number, number][] = [
  ["512", 512, 128 * KiB],
  ["1k", 1024, 256 * KiB],
  ["4k", 4096, MiB],
  ["64k", 65536, 2 * MiB],
  ["1M", MiB, 4 * MiB],
];
for (const [label, cluster, size] of SIZES) {
  scenario(`allocate, ${label} clusters`, { size, create: { cluster_size: cluster } }, (m) => {
    m.write(0, cluster);
    m.write(3 * cluster, 512);
    m.flush();
    m.write(cluster, cluster);
    m.write(size / 2, 1024);
    m.write(3 * cluster, 512);
    m.flush();
    m.write(size - 512, 512);
  });
}
scenario("allocate, version 2", { size: MiB, create: { cluster_size: 4096, compat: "0.10" } }, (m) => {
  for (let i = 0; i < 8; i++) m.write(i * 20 * KiB, 6 * KiB);
  m.flush();
  for (let i = 0; i < 8; i++) m.write(i * 16 * KiB + 512, 1024);
  m.flush();
});
scenario("no flush at all", { size: 256 * KiB, create: { cluster_size: 1024 } }, (m) => {
  for (let i = 0; i < 12; i++) m.write(i * 20 * KiB, 1536);
});
for (const bits of [1, 2, 8, 32, 64]) {
  scenario(`allocate, ${bits}-bit refcounts`, { size: 256 * KiB, create: { cluster_size: 512, refcount_bits: bits } }, (m) => {
    for (let i = 0; i < 6; i++) m.write(i * 40 * KiB, 2048);
    m.flush();
    m.discard(40 * KiB, 2048);
    m.write(100 * KiB, 1536);
    m.flush();
  });
}
scenario("lazy refcounts", { size: MiB, create: { cluster_size: 4096, lazy_refcounts: true } }, (m) => {
  m.write(0, 6 * KiB);
  m.flush();
  m.write(128 * KiB, 12 * KiB);
  m.discard(0, 4 * KiB);
  m.flush();
  m.write(512 * KiB, 4 * KiB);
  m.flush();
});
scenario(
  "lazy refcounts, many tables",
  {
    size: 512 * KiB,
    create: { cluster_size: 512, lazy_refcounts: true },
    open: { "l2-cache-size": 1024, "l2-cache-entry-size": 512, "refcount-cache-size": 1024 },
  },
  (m) => {
    for (let i = 0; i < 15; i++) m.write(i * 33 * KiB, 1536);
    m.flush();
    for (let i = 0; i < 15; i++) m.zero(i * 33 * KiB, 1024, true);
    for (let i = 0; i < 15; i++) m.write(i * 32 * KiB + 8192, 1024);
  },
);

// ---- tables that grow -----------------------------------------------------------------------------------------------

scenario("refcount blocks are made", { size: 512 * KiB, create: { cluster_size: 512, refcount_bits: 64 } }, (m) => {
  for (let i = 0; i < 10; i++) {
    m.write(i * 36 * KiB, 20 * KiB);
    if (i % 3 === 2) m.flush();
  }
  m.flush();
});
scenario(
  "the refcount table grows",
  { size: 2.5 * MiB, create: { cluster_size: 512, refcount_bits: 64 } },
  (m) => {
    m.write(2 * MiB - 64 * KiB, 40 * KiB);
    m.flush();
    m.write(2 * MiB + 64 * KiB, 128 * KiB);
    m.flush();
    m.write(MiB, 4 * KiB);
    m.flush();
  },
  (m) => m.write(0, 1.8 * MiB - ((1.8 * MiB) % 512)),
);
scenario(
  "the refcount table grows twice",
  { size: 6 * MiB, create: { cluster_size: 512, refcount_bits: 64 } },
  (m) => {
    m.write(1536 * KiB, 768 * KiB);
    m.flush();
    m.write(2560 * KiB, 2 * MiB);
    m.flush();
  },
  (m) => m.write(0, 1536 * KiB),
);
scenario(
  "the L1 table grows",
  { size: 64 * KiB, create: { cluster_size: 512 } },
  (m) => {
    m.write(32 * KiB, 2048);
    m.resize(4 * MiB);
    m.write(3 * MiB, 4096);
    m.flush();
  },
  (m) => fill(m, 0, 8 * KiB),
);
scenario(
  "few cache slots",
  {
    size: MiB,
    create: { cluster_size: 512 },
    open: { "l2-cache-size": 1024, "l2-cache-entry-size": 512, "refcount-cache-size": 1024 },
  },
  (m) => {
    for (let i = 0; i < 24; i++) m.write(((i * 7) % 24) * 40 * KiB, 1024);
    m.flush();
    for (let i = 0; i < 12; i++) m.write(((i * 5) % 24) * 40 * KiB + 1024, 2048);
    m.flush();
  },
);

// ---- copy on write --------------------------------------------------------------------------------------------------

for (const [label, cluster] of [
  ["4k", 4096],
  ["64k", 65536],
] as const) {
  scenario(`backing file, ${label} clusters`, { size: MiB, backing: 768 * KiB, create: { cluster_size: cluster } }, (m) => {
    m.write(512, 512);
    m.write(200 * KiB, 1024);
    m.flush();
    m.write(3 * 64 * KiB - 1024, 2048);
    m.write(700 * KiB, 100 * KiB);
    m.zero(512 * KiB, 64 * KiB, true);
    m.flush();
    m.write(530 * KiB, 1024);
    m.discard(0, 64 * KiB);
    m.flush();
  });
}
scenario(
  "backing file shorter than a cluster's end",
  { size: 256 * KiB, backing: 66 * KiB, create: { cluster_size: 65536 } },
  (m) => {
    m.write(65 * KiB, 512);
    m.flush();
    m.write(128 * KiB + 512, 512);
  },
);
scenario(
  "backing file, version 2",
  { size: 512 * KiB, backing: 512 * KiB, create: { cluster_size: 4096, compat: "0.10" } },
  (m) => {
    m.write(512, 1024);
    m.zero(8 * KiB, 8 * KiB);
    m.flush();
    m.write(9 * KiB, 512);
    m.flush();
  },
);

// ---- compressed -----------------------------------------------------------------------------------------------------

for (const [label, cluster] of [
  ["4k", 4096],
  ["64k", 65536],
] as const) {
  scenario(`compressed, ${label} clusters`, { size: MiB, create: { cluster_size: cluster } }, (m) => {
    for (let i = 0; i < 5; i++) m.compress(i * cluster, cluster);
    m.flush();
    m.write(cluster + 512, 1024);
    m.compress(2 * cluster, cluster);
    m.flush();
    m.compress(7 * cluster, cluster);
    m.write(0, cluster);
    m.flush();
  });
}
scenario("compressed, then freed and reused", { size: MiB, create: { cluster_size: 4096 } }, (m) => {
  for (let i = 0; i < 6; i++) m.compress(i * 4096, 4096);
  m.flush();
  for (let i = 0; i < 6; i++) m.write(i * 4096, 4096);
  m.flush();
  m.compress(64 * KiB, 4096);
  m.write(80 * KiB, 12 * KiB);
  m.discard(64 * KiB, 4096);
  m.compress(96 * KiB, 4096);
  m.flush();
  m.compress(112 * KiB, 8192);
  m.flush();
});
scenario("compressed, 2-bit refcounts", { size: 256 * KiB, create: { cluster_size: 4096, refcount_bits: 2 } }, (m) => {
  for (let i = 0; i < 12; i++) m.compress(i * 8192, 4096);
  m.flush();
  for (let i = 0; i < 12; i += 2) m.discard(i * 8192, 4096);
  m.compress(4096, 4096);
  m.flush();
});
scenario("compressed over a backing file", { size: 512 * KiB, backing: 512 * KiB, create: { cluster_size: 65536 } }, (m) => {
  m.compress(0, 65536);
  m.flush();
  m.write(1024, 512);
  m.compress(128 * KiB, 128 * KiB);
  m.flush();
});

// ---- extended L2 entries --------------------------------------------------------------------------------------------

scenario("extended L2", { size: MiB, create: { cluster_size: 65536, extended_l2: true } }, (m) => {
  m.write(0, 2048);
  m.write(70 * KiB, 512);
  m.flush();
  m.write(4 * KiB, 6 * KiB);
  m.zero(0, 2048);
  m.write(96 * KiB, 64 * KiB);
  m.flush();
  m.discard(64 * KiB, 64 * KiB);
  m.write(66 * KiB, 2048);
  m.flush();
});
scenario(
  "extended L2 over a backing file",
  { size: 512 * KiB, backing: 512 * KiB, create: { cluster_size: 16384, extended_l2: true } },
  (m) => {
    m.write(512, 512);
    m.zero(8192, 2048);
    m.flush();
    m.write(9 * KiB, 1024);
    m.zero(16 * KiB, 16 * KiB, true);
    m.write(18 * KiB, 512);
    m.flush();
    m.compress(64 * KiB, 16 * KiB);
    m.write(65 * KiB, 512);
    m.flush();
  },
);

// ---- zeros and discard ----------------------------------------------------------------------------------------------

for (const unmap of [false, true]) {
  scenario(
    `zeros, ${unmap ? "unmapped" : "kept"}, then written again`,
    { size: MiB, create: { cluster_size: 4096 } },
    (m) => {
      m.zero(0, 32 * KiB, unmap);
      m.write(2 * KiB, 512);
      m.write(256 * KiB, 24 * KiB);
      m.flush();
      m.zero(256 * KiB, 16 * KiB, unmap);
      m.write(512 * KiB, 16 * KiB);
      m.zero(1024, 1024, unmap);
      m.flush();
    },
    (m) => fill(m, 0, 64 * KiB),
  );
}
scenario(
  "discarded space is used again",
  { size: MiB, create: { cluster_size: 4096 } },
  (m) => {
    m.discard(0, 32 * KiB);
    m.write(512 * KiB, 64 * KiB);
    m.discard(32 * KiB, 16 * KiB);
    m.flush();
    m.write(640 * KiB, 32 * KiB);
    m.flush();
    m.discard(512 * KiB, 128 * KiB);
    m.write(0, 16 * KiB);
  },
  (m) => fill(m, 0, 64 * KiB),
);
scenario(
  "discarded without a flush",
  { size: 256 * KiB, create: { cluster_size: 512 } },
  (m) => {
    for (let i = 0; i < 6; i++) {
      m.discard(i * 4 * KiB, 4 * KiB);
      m.write(128 * KiB + i * 4 * KiB, 4 * KiB);
    }
  },
  (m) => fill(m, 0, 32 * KiB),
);
scenario(
  "discard-no-unref",
  { size: MiB, create: { cluster_size: 4096 }, open: { "discard-no-unref": true } },
  (m) => {
    m.discard(0, 32 * KiB);
    m.write(2 * KiB, 512);
    m.flush();
    m.write(512 * KiB, 16 * KiB);
    m.zero(512 * KiB, 8 * KiB, true);
    m.flush();
  },
  (m) => fill(m, 0, 64 * KiB),
);
scenario(
  "discards passed to a plain medium",
  { size: 256 * KiB, plain: true, create: { cluster_size: 1024 } },
  (m) => {
    m.discard(0, 16 * KiB);
    m.flush();
    m.write(64 * KiB, 16 * KiB);
    m.flush();
  },
  (m) => fill(m, 0, 32 * KiB),
);
scenario(
  "version 2 discard",
  { size: 256 * KiB, create: { cluster_size: 4096, compat: "0.10" } },
  (m) => {
    m.discard(0, 16 * KiB);
    m.write(64 * KiB, 16 * KiB);
    m.flush();
    m.write(0, 4096);
    m.flush();
  },
  (m) => fill(m, 0, 32 * KiB),
);

// ---- resize and preallocation ---------------------------------------------------------------------------------------

scenario(
  "grow within a cluster",
  { size: 100 * KiB, create: { cluster_size: 65536 } },
  (m) => {
    m.resize(120 * KiB);
    m.write(110 * KiB, 1024);
    m.flush();
  },
  (m) => m.write(64 * KiB, 36 * KiB),
);
scenario("grow over a longer backing file", { size: 64 * KiB, backing: 256 * KiB, create: { cluster_size: 4096 } }, (m) => {
  m.write(60 * KiB, 1024);
  m.resize(200 * KiB);
  m.write(190 * KiB, 1024);
  m.flush();
});
scenario(
  "shrink",
  { size: MiB, create: { cluster_size: 4096 } },
  (m) => {
    m.write(900 * KiB, 8 * KiB);
    m.resize(300 * KiB);
    m.write(290 * KiB, 4 * KiB);
    m.flush();
    m.resize(150 * KiB - 512);
  },
  (m) => {
    fill(m, 0, 64 * KiB);
    fill(m, 280 * KiB, 64 * KiB);
  },
);
scenario(
  "shrink, and refcount blocks go",
  { size: 384 * KiB, create: { cluster_size: 512, refcount_bits: 64 } },
  (m) => {
    m.resize(64 * KiB);
    m.write(16 * KiB, 4 * KiB);
    m.flush();
    m.resize(128 * KiB);
    m.write(80 * KiB, 40 * KiB);
    m.flush();
  },
  (m) => {
    for (const at of [200, 300, 0, 100]) m.write(at * KiB, 60 * KiB);
  },
);
scenario(
  "shrink and grow again",
  { size: 512 * KiB, create: { cluster_size: 512 } },
  (m) => {
    m.resize(100 * KiB + 512);
    m.resize(400 * KiB);
    m.write(200 * KiB, 4 * KiB);
    m.flush();
  },
  (m) => fill(m, 64 * KiB, 128 * KiB),
);
for (const mode of ["metadata", "falloc", "full"] as const) {
  scenario(
    `grow, preallocation ${mode}`,
    { size: 64 * KiB, create: { cluster_size: 4096 } },
    (m) => {
      m.resize(256 * KiB, mode);
      m.write(128 * KiB, 1024);
      m.flush();
    },
    (m) => fill(m, 0, 32 * KiB),
  );
}
scenario("preallocated metadata", { size: 256 * KiB, create: { cluster_size: 4096, preallocation: "metadata" } }, (m) => {
  m.write(1024, 512);
  m.write(128 * KiB, 8 * KiB);
  m.flush();
  m.zero(128 * KiB, 4 * KiB, true);
  m.flush();
});
scenario(
  "preallocated, extended L2",
  { size: 256 * KiB, create: { cluster_size: 16384, extended_l2: true, preallocation: "metadata" } },
  (m) => {
    m.write(1024, 512);
    m.write(64 * KiB, 8 * KiB);
    m.flush();
  },
);

// ---- requests in flight together ------------------------------------------------------------------------------------

scenario("writes together", { size: MiB, create: { cluster_size: 4096 } }, (m) => {
  m.together(...[0, 1, 2, 3, 4, 5].map((i) => m.writing(i * 6 * KiB, 6 * KiB)), m.flushing());
  m.together(...[0, 1, 2, 3].map((i) => m.writing(512 * KiB + i * 1024, 1024)), m.discarding(0, 8 * KiB), m.flushing());
  m.flush();
});
scenario(
  "writes together, small caches",
  {
    size: MiB,
    create: { cluster_size: 512 },
    open: { "l2-cache-size": 1024, "l2-cache-entry-size": 512, "refcount-cache-size": 1024 },
  },
  (m) => {
    for (let round = 0; round < 3; round++) {
      m.together(
        ...Array.from({ length: 8 }, (_, i) => m.writing(((i * 5 + round) % 30) * 33 * KiB, 2048)),
        m.flushing(),
        m.zeroing(round * 33 * KiB + 8 * KiB, 4 * KiB, true),
      );
    }
  },
);
scenario("compressed together", { size: MiB, create: { cluster_size: 4096 } }, (m) => {
  m.together(m.writing(0, 32 * KiB, { compressed: true }), m.writing(64 * KiB, 16 * KiB, { compressed: true }), m.flushing());
  m.together(
    m.writing(1024, 512),
    m.discarding(8 * KiB, 4 * KiB),
    m.writing(96 * KiB, 8 * KiB, { compressed: true }),
    m.flushing(),
  );
});

// ---- snapshots ------------------------------------------------------------------------------------------------------

for (const [label, create] of [
  ["64k", { cluster_size: 65536 }],
  ["512", { cluster_size: 512 }],
  ["version 2", { cluster_size: 4096, compat: "0.10" }],
  ["lazy", { cluster_size: 4096, lazy_refcounts: true }],
  ["extended L2", { cluster_size: 16384, extended_l2: true }],
  ["2-bit refcounts", { cluster_size: 1024, refcount_bits: 2 }],
] as const) {
  const size = label === "512" ? 128 * KiB : 512 * KiB;
  const unit = create.cluster_size;
  scenario(
    `snapshot create, ${label}`,
    { size, create },
    (m) => {
      m.write(0, 1024);
      m.createSnapshot("one");
      m.write(512, 512);
      m.write(2 * unit, unit);
      m.flush();
      m.createSnapshot("two");
      m.write(0, 512);
    },
    (m) => fill(m, 0, Math.min(size / 2, 8 * unit)),
  );
  scenario(
    `snapshot apply, ${label}`,
    { size, create },
    (m) => {
      m.write(unit, 512);
      m.applySnapshot("one");
      m.write(0, 512);
      m.flush();
    },
    (m) => {
      fill(m, 0, Math.min(size / 2, 8 * unit));
      m.createSnapshot("one");
      m.write(0, 1024);
      m.write(3 * unit, unit);
    },
  );
  scenario(
    `snapshot delete, ${label}`,
    { size, create },
    (m) => {
      m.write(unit, 512);
      m.removeSnapshot("one");
      m.write(0, 512);
      m.flush();
      m.removeSnapshot("two");
      m.write(2 * unit, 1024);
      m.flush();
    },
    (m) => {
      fill(m, 0, Math.min(size / 2, 8 * unit));
      m.createSnapshot("one");
      m.write(0, 1024);
      m.write(3 * unit, unit);
      m.createSnapshot("two");
      m.write(5 * unit, 512);
    },
  );
}
scenario(
  "snapshots with compressed clusters",
  { size: 256 * KiB, create: { cluster_size: 4096 } },
  (m) => {
    m.createSnapshot("one");
    m.compress(0, 8192);
    m.write(9 * KiB, 512);
    m.flush();
    m.createSnapshot("two");
    m.removeSnapshot("one");
    m.compress(32 * KiB, 4096);
    m.flush();
  },
  (m) => m.compress(0, 32 * KiB),
);
scenario(
  "snapshot of another size applied",
  { size: 256 * KiB, create: { cluster_size: 512 } },
  (m) => {
    m.resize(512 * KiB);
    m.write(400 * KiB, 4 * KiB);
    m.flush();
    m.applySnapshot("small");
    m.write(100 * KiB, 1024);
    m.flush();
  },
  (m) => {
    fill(m, 0, 16 * KiB);
    m.createSnapshot("small");
    m.write(0, 2048);
  },
);
scenario(
  "snapshots over a backing file",
  { size: 256 * KiB, backing: 256 * KiB, create: { cluster_size: 4096 } },
  (m) => {
    m.createSnapshot("one");
    m.write(0, 8 * KiB);
    m.zero(32 * KiB, 8 * KiB, true);
    m.flush();
    m.applySnapshot("one");
    m.write(1024, 512);
    m.flush();
    m.removeSnapshot("one");
  },
  (m) => m.write(2048, 8 * KiB),
);
scenario(
  "a full snapshot table",
  { size: 64 * KiB, create: { cluster_size: 512 } },
  (m) => {
    for (let i = 0; i < 4; i++) {
      m.write(i * 512, 512);
      m.createSnapshot(`a rather long name of a snapshot ${i}`);
    }
    m.removeSnapshot("before 3");
    m.removeSnapshot("a rather long name of a snapshot 1");
  },
  (m) => {
    for (let i = 0; i < 6; i++) {
      m.write(i * 1024, 1024);
      m.createSnapshot(`before ${i}`);
    }
  },
);

// ---- the image as a whole ------------------------------------------------------------------------------------------

for (const [label, create] of [
  ["64k", { cluster_size: 65536 }],
  ["4k", { cluster_size: 4096 }],
  ["version 2", { cluster_size: 4096, compat: "0.10" }],
  ["clusters of 2 KiB", { cluster_size: 2048 }],
] as const) {
  scenario(
    `another backing file name, ${label}`,
    { size: 256 * KiB, backing: 256 * KiB, create },
    (m) => {
      m.perform(m.impl.changeBackingFile!(BACKING_NAMES[2]!, "raw"));
      m.write(1024, 512);
      m.flush();
      m.perform(m.impl.changeBackingFile!("b", null));
      m.perform(m.impl.changeBackingFile!(BACKING_NAMES[2]!, null));
      m.perform(m.impl.changeBackingFile!(BACKING_NAMES[0]!, "raw"));
    },
    (m) => m.write(2048, 8 * KiB),
  );
}
for (const backing of [undefined, 256 * KiB]) {
  scenario(
    `emptied after a commit${backing === undefined ? "" : ", with a backing file"}`,
    { size: 256 * KiB, ...(backing === undefined ? {} : { backing }), create: { cluster_size: 4096 } },
    (m) => {
      m.write(200 * KiB, 4096);
      m.empty();
      m.write(1024, 8 * KiB);
      m.flush();
    },
    (m) => fill(m, 0, 64 * KiB),
  );
}
scenario(
  "emptied beside a snapshot",
  { size: 128 * KiB, create: { cluster_size: 512 } },
  (m) => {
    m.empty();
    m.write(1024, 8 * KiB);
    m.flush();
  },
  (m) => {
    fill(m, 0, 32 * KiB);
    m.createSnapshot("kept");
    m.write(0, 4096);
  },
);
for (const [label, create, options] of [
  ["wider refcounts", { cluster_size: 4096 }, { refcount_bits: 64 }],
  ["narrower refcounts", { cluster_size: 512 }, { refcount_bits: 1 }],
  ["upgrade", { cluster_size: 4096, compat: "0.10" }, { compat: "1.1" }],
  ["downgrade", { cluster_size: 4096 }, { compat: "0.10" }],
  ["lazy refcounts", { cluster_size: 4096 }, { lazy_refcounts: true }],
  ["no lazy refcounts", { cluster_size: 4096, lazy_refcounts: true }, { lazy_refcounts: false }],
] as const) {
  scenario(
    `amend, ${label}`,
    { size: 128 * KiB, create },
    (m) => {
      m.write(100 * KiB, 4096);
      m.perform(m.impl.amend!(options, () => {}, false));
      m.write(1024, 2048);
      m.flush();
    },
    (m) => {
      fill(m, 0, 32 * KiB);
      if (!("compat" in create)) m.zero(4096, 8192);
    },
  );
}
scenario(
  "amend between snapshots",
  { size: 128 * KiB, create: { cluster_size: 4096, compat: "0.10" } },
  (m) => {
    m.perform(m.impl.amend!({ compat: "1.1" }, () => {}, false));
    m.perform(m.impl.amend!({ refcount_bits: 8 }, () => {}, false));
    m.createSnapshot("two");
    m.write(1024, 2048);
    m.removeSnapshot("one");
  },
  (m) => {
    fill(m, 0, 32 * KiB);
    m.createSnapshot("one");
    m.write(0, 4096);
  },
);
for (const cluster of [512, 4096]) {
  scenario(
    `persistent bitmaps, ${cluster} bytes`,
    { size: 256 * KiB, create: { cluster_size: cluster } },
    async (m) => {
      m.write(64 * KiB, 4096);
      m.flush();
      addBitmap(m.node, { name: "second", granularity: 4096, persistent: true });
      m.write(0, 2048);
      await m.close();
      await m.open();
      m.write(128 * KiB, 2048);
      m.flush();
      await m.close();
      await m.open();
      m.perform(removeBitmap(m.node, "first"));
    },
    (m) => {
      fill(m, 0, 16 * KiB);
      addBitmap(m.node, { name: "first", granularity: 4096, persistent: true });
    },
  );
}

export const SCENARIOS: readonly Scenario[] = list;

// ---- random workloads -----------------------------------------------------------------------------------------------

export function randomScenario(seed: number): Scenario {
  const choose = random(seed);
  const cluster = choose.pick([512, 512, 1024, 4096, 4096, 16384, 65536]);
  const version2 = choose.chance(0.15);
  const extended = !version2 && cluster >= 16384 && choose.chance(0.5);
  const size = Math.min(MiB, cluster * between(choose, 40, 300));
  const backing = !version2 && choose.chance(0.3) ? size - (choose.int(size) - (choose.int(size) % 512)) : undefined;
  const bits = choose.pick([16, 16, 1, 4, 64]);
  const machine: MachineOptions = {
    size,
    create: {
      cluster_size: cluster,
      ...(version2 ? { compat: "0.10" } : { refcount_bits: bits, lazy_refcounts: choose.chance(0.2) }),
      ...(extended ? { extended_l2: true } : {}),
    },
    ...(backing === undefined ? {} : { backing: Math.max(512, backing - (backing % 512)) }),
    ...(choose.chance(0.3) ? { open: { "l2-cache-size": 1024, "l2-cache-entry-size": 512, "refcount-cache-size": 1024 } } : {}),
  };
  const canSnapshot = bits !== 1 || version2;
  return {
    name: `random workload ${seed}`,
    machine,
    before: (m) => void Array.from({ length: 4 }, () => m.write(...place(choose, size, cluster))),
    run(m) {
      let snapshots = 0;
      for (let i = between(choose, 8, 16); i > 0; i--) {
        const kind = weighted(choose, { one: 8, together: 5, flush: 4, snapshot: canSnapshot ? 2 : 0 });
        if (kind === "one") step(m, choose, size, cluster)();
        else if (kind === "flush") m.flush();
        else if (kind === "together") {
          const part = Math.floor(size / 4 / cluster) * cluster;
          m.together(...[0, 1, 2, 3].map((k) => request(m, choose, k * part, part, cluster)), m.flushing());
        } else if (snapshots > 0 && choose.chance(0.5)) {
          const name = `s${between(choose, 1, snapshots)}`;
          if (choose.chance(0.5) && m.impl.snapshots!.list().some((snapshot) => snapshot.name === name)) {
            if (choose.chance(0.5)) m.applySnapshot(name);
            else m.removeSnapshot(name);
          }
        } else if (snapshots < 3) m.createSnapshot(`s${++snapshots}`);
      }
    },
  };
}

function place(choose: Random, size: number, cluster: number): [number, number] {
  const length = 512 * between(choose, 1, Math.max(1, Math.min(48, Math.floor((3 * cluster) / 512))));
  const offset = choose.int(size - length);
  return [offset - (offset % 512), length];
}

function step(m: Machine, choose: Random, size: number, cluster: number): () => void {
  const [offset, length] = place(choose, size, cluster);
  const start = offset - (offset % cluster);
  switch (weighted(choose, { write: 5, zero: 2, discard: 2, compress: 1 })) {
    case "write":
      return () => m.write(offset, length);
    case "zero":
      return () => m.zero(offset, length, choose.chance(0.6));
    case "discard":
      return () => m.discard(start, Math.min(size - (size % cluster), start + 2 * cluster) - start);
    case "compress":
      return () => m.compress(Math.min(start, size - (size % cluster) - cluster), cluster);
  }
}

/** One request inside [from, from+length), which is whole clusters. */
function request(m: Machine, choose: Random, from: number, length: number, cluster: number): Op<void> {
  const [offset, bytes] = place(choose, length, Math.min(cluster, length / 4));
  switch (weighted(choose, { write: 5, zero: 2, discard: 1 })) {
    case "write":
      return m.writing(from + offset, bytes);
    case "zero":
      return m.zeroing(from + offset, bytes, true);
    case "discard":
      return m.discarding(from + offset - (offset % cluster), cluster);
  }
}
