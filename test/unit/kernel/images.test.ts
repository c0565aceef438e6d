/** The census over whole images that qemu-img made: refcounts must agree, statistics must equal those of `qemu-img check`. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readCensus } from "../../../src/kernel/extent.js";
import * as L from "../../../src/kernel/layout.js";
import type { Kernel } from "../../../src/kernel/types.js";
import { bothKernels } from "./kernels.js";

const available = spawnSync("qemu-img", ["--version"]).status === 0 && spawnSync("qemu-io", ["--version"]).status === 0;
const test = suite("images of qemu-img");
const dir = available ? mkdtempSync(join(tmpdir(), "blockcore-kernel-")) : "";
test.after(() => {
  if (available) rmSync(dir, { recursive: true });
});

function run(command: string, ...args: string[]): string {
  const result = spawnSync(command, args, { encoding: "utf8" });
  if (result.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${result.stderr}`);
  return result.stdout;
}

const STATS = 64;
const OUT = 512;
const COUNTERS = 4096;
const MAX_CLUSTERS = 16384;
const TABLE = COUNTERS + MAX_CLUSTERS * 4;
const kernels: Kernel[] = available ? bothKernels(TABLE + 2 * 1024 * 1024) : [];

/** Counts every reference of an image without snapshots, and returns the clusters whose refcount differs. */
function census(
  kernel: Kernel,
  image: Buffer,
): { differ: number[]; fragmented: number; compressed: number; allocated: number; corrupt: number } {
  kernel.memory.fill(0);
  const u64 = (at: number): number => Number(image.readBigUInt64BE(at));
  const bits = image.readUInt32BE(20);
  const size = 2 ** bits;
  const v3 = image.readUInt32BE(4) >= 3;
  const order = v3 ? image.readUInt32BE(96) : 4;
  const extended = v3 && (image.readUInt32BE(76) & 16) !== 0;
  const l1Size = image.readUInt32BE(36);
  const l1 = u64(40);
  const refTable = u64(48);
  const refTableClusters = image.readUInt32BE(56);
  const n = Math.ceil(image.length / size);
  assert.ok(n <= MAX_CLUSTERS);
  const count = (offset: number, bytes: number): number =>
    kernel.censusAdd(COUNTERS, n, Math.floor(offset / size), Math.ceil(bytes / size), 1);
  count(0, size);
  count(l1, l1Size * 8);
  count(refTable, refTableClusters * size);
  for (let i = 0; i < l1Size; i++) {
    const l2 = Number(image.readBigUInt64BE(l1 + i * 8) & 0x00fffffffffffe00n);
    if (l2 === 0) continue;
    count(l2, size);
    kernel.memory.set(image.subarray(l2, l2 + size), TABLE);
    const flags = (v3 ? L.L2_VERSION3 : 0) | (extended ? L.L2_EXTENDED : 0);
    kernel.censusL2(TABLE, size / (extended ? 16 : 8), bits, flags, COUNTERS, 0, n, STATS);
  }
  const blocks = Array.from({ length: (refTableClusters * size) / 8 }, (_, i) => u64(refTable + i * 8));
  for (const block of blocks) if (block !== 0) count(block, size);
  const perBlock = (size * 8) / 2 ** order;
  const differ: number[] = [];
  for (let i = 0; i * perBlock < n; i++) {
    kernel.memory.fill(0, TABLE, TABLE + size);
    if (blocks[i]) kernel.memory.set(image.subarray(blocks[i], blocks[i]! + size), TABLE);
    const found = kernel.refCompare(TABLE, 0, Math.min(perBlock, n - i * perBlock), order, COUNTERS + i * perBlock * 4, OUT, 100);
    for (let k = 0; k < found; k++) differ.push(i * perBlock + kernel.view.getUint32(OUT + k * 4, true));
  }
  const { fragmented, compressed, allocated, corrupt } = readCensus(kernel.view, STATS);
  return { differ, fragmented, compressed, allocated, corrupt };
}

const writes = [
  "write -P 1 0 300k",
  "write -P 2 700k 200k",
  "write -P 3 300k 64k",
  "write -z 1M 256k",
  "write -P 4 5M 1M",
  "write -z 5M 128k",
  "write -P 5 900k 20k",
];
const layouts: [string, string][] = [
  ["version 2", "compat=0.10"],
  ["defaults", "compat=1.1"],
  ["512-byte clusters", "cluster_size=512"],
  ["2 MiB clusters", "cluster_size=2M"],
  ["1-bit refcounts", "refcount_bits=1"],
  ["2-bit refcounts", "refcount_bits=2,cluster_size=4k"],
  ["4-bit refcounts", "refcount_bits=4,cluster_size=64k"],
  ["64-bit refcounts", "refcount_bits=64,cluster_size=4k"],
  ["32-bit refcounts", "refcount_bits=32"],
  ["8-bit refcounts", "refcount_bits=8,cluster_size=1k"],
  ["extended entries", "extended_l2=on"],
  ["extended entries, 16 KiB", "extended_l2=on,cluster_size=16k"],
];
for (const [name, options] of available ? layouts : []) {
  for (const compress of [false, true]) {
    if (compress && options === "refcount_bits=1") continue; // areas share clusters, which needs a refcount of 2
    test(`${name}${compress ? ", compressed" : ""}`, () => {
      const path = join(dir, `${options}.qcow2`);
      run("qemu-img", "create", "-f", "qcow2", "-o", options, path, "8M");
      run("qemu-io", "-f", "qcow2", ...writes.flatMap((write) => ["-c", write]), path);
      let image = path;
      if (compress) {
        image = join(dir, `${options}.compressed.qcow2`);
        run("qemu-img", "convert", "-c", "-f", "qcow2", "-O", "qcow2", "-o", options, path, image);
        run("qemu-io", "-f", "qcow2", "-c", "write -P 9 64k 64k", image); // frees a compressed area
      }
      const want = JSON.parse(run("qemu-img", "check", "--output=json", "-f", "qcow2", image)) as Record<string, number>;
      for (const kernel of kernels) {
        assert.equal(
          census(kernel, readFileSync(image)),
          {
            differ: [],
            corrupt: 0,
            allocated: want["allocated-clusters"] ?? 0,
            fragmented: want["fragmented-clusters"] ?? 0,
            compressed: want["compressed-clusters"] ?? 0,
          },
          kernel.flavour,
        );
      }
    });
  }
}

test.run();
