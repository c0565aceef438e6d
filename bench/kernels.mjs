// Nanoseconds per call of every kernel: WebAssembly and the TypeScript twin, in one process, samples interleaved.
// Usage: node scripts/build-wasm.mjs && node bench/kernels.mjs [name part]      Results: docs/KERNELS.md
import { mkdirSync } from "node:fs";
import { cpus } from "node:os";
import { pathToFileURL } from "node:url";
import { resolve } from "node:path";
import { build } from "esbuild";

const SAMPLES = 41;
const SAMPLE_NS = 1_000_000;

mkdirSync("build/bench", { recursive: true });
const outfile = resolve("build/bench/kernels-under-test.mjs");
await build({
  stdin: {
    contents: `export * from "./src/kernel/kernel.ts"; export * from "./src/kernel/module.inline.ts"; export * as L from "./src/kernel/layout.ts";`,
    resolveDir: resolve("."),
    loader: "ts",
  },
  outfile,
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node20",
  loader: { ".wasm": "binary" },
  logLevel: "warning",
});
const { createKernel, setKernelModule, kernelModule, L } = await import(pathToFileURL(outfile).href);

const SIZE = 4 << 20;
const A = 65536;
const B = 1 << 20;
const C = 2 << 20;
setKernelModule(kernelModule);
const wasm = createKernel(SIZE);
setKernelModule(null);
const twin = createKernel(SIZE);

const put = (k, i, value) => k.view.setBigUint64(A + i * 8, value, false);
const COPIED = 1n << 63n;
const ENTRIES = 8192;
const tables = {
  unallocated: (k) => k.memory.fill(0, A, A + 65536),
  contiguous: (k) => {
    for (let i = 0; i < ENTRIES; i++) put(k, i, COPIED | BigInt((i + 1) * 65536));
  },
  fragmented: (k) => {
    for (let i = 0; i < ENTRIES; i++) put(k, i, COPIED | BigInt((i + 1 + (i >> 2) * 7) * 65536));
  },
  compressed: (k) => {
    for (let i = 0; i < ENTRIES; i++) put(k, i, (1n << 62n) | (40n << 54n) | BigInt(i * 20001 + 5));
  },
  extended: (k) => {
    for (let i = 0; i < ENTRIES / 2; i++) {
      put(k, i * 2, COPIED | BigInt((i + 1) * 65536));
      put(k, i * 2 + 1, 0xffffffffn);
    }
  },
};
const fillRefs = (value) => (k, order) => {
  k.memory.fill(0, A, A + 65536);
  for (let i = 0; i < (65536 * 8) / 2 ** order; i++) k.refSet(A, i, order, value);
};
const zero = (k) => k.memory.fill(0, A, C);
const scan = (name) => [tables[name], (k) => k.scanL2(A, 0, ENTRIES, 16, L.L2_VERSION3, B, ENTRIES)];
const jobs = {
  "isZero, 512 B": [zero, (k) => k.isZero(A, 512)],
  "isZero, 4 KiB": [zero, (k) => k.isZero(A, 4096)],
  "isZero, 64 KiB": [zero, (k) => k.isZero(A, 65536)],
  "isZero, 64 KiB, first byte set": [
    (k) => {
      zero(k);
      k.memory[A] = 1;
    },
    (k) => k.isZero(A, 65536),
  ],
  "dataRun, 64 KiB by 4 KiB, all data": [(k) => k.memory.fill(1, A, A + 65536), (k) => k.dataRun(A, 65536, 4096)],
  "firstDifference, 64 KiB equal": [zero, (k) => k.firstDifference(A, B, 65536)],
  "swap64, 8192 fields": [zero, (k) => k.swap64(A, ENTRIES)],
  "scanL2, 8192 unallocated": scan("unallocated"),
  "scanL2, 8192 contiguous": scan("contiguous"),
  "scanL2, 8192 in runs of 4": scan("fragmented"),
  "scanL2, 8192 compressed": scan("compressed"),
  "scanL2, 1 entry (a lookup)": [tables.contiguous, (k) => k.scanL2(A, 77, 1, 16, L.L2_VERSION3, B, 1)],
  "scanL2, 16 entries contiguous": [tables.contiguous, (k) => k.scanL2(A, 77, 16, 16, L.L2_VERSION3, B, 8)],
  "scanL2Extended, 4096 clusters contiguous": [
    tables.extended,
    (k) => k.scanL2Extended(A, 0, ENTRIES * 16, 16, L.L2_VERSION3, B, 100),
  ],
  "refGet, 16 bit": [fillRefs(1), (k) => k.refGet(A, 1000, 4), 4],
  "censusL2, 8192 contiguous": [tables.contiguous, (k) => k.censusL2(A, ENTRIES, 16, L.L2_VERSION3, B, 0, 65536, C)],
  "refCompare, 32768 x 16 bit, all equal": [
    (k) => {
      fillRefs(1)(k, 4);
      for (let i = 0; i < 32768; i++) k.view.setUint32(B + i * 4, 1, true);
    },
    (k) => k.refCompare(A, 0, 32768, 4, B, C, 100),
  ],
  "bitSetRange, 2^20 bits": [zero, (k) => k.bitSetRange(A, 3, 2 ** 20)],
  "bitSetRange, 1 bit": [zero, (k) => k.bitSetRange(A, 12345, 1)],
  "bitCount, 2^20 bits": [zero, (k) => k.bitCount(A, 3, 2 ** 20)],
  "bitFindSet, 2^20 clear bits": [zero, (k) => k.bitFindSet(A, 3, 2 ** 20)],
  "bitOr, 128 KiB": [zero, (k) => k.bitOr(A, B, 131072)],
};
for (let order = 0; order <= 6; order++) {
  const entries = (65536 * 8) / 2 ** order;
  jobs[`refAddRange, ${entries} x ${1 << order} bit`] = [
    fillRefs(0),
    (k) => {
      k.refAddRange(A, 0, entries, order, 1);
      k.refAddRange(A, 0, entries, order, -1);
    },
    order,
    2,
  ];
}
jobs["refFindFree, 32768 x 16 bit, none"] = [fillRefs(1), (k) => k.refFindFree(A, 0, 32768, 4), 4];
jobs["refFindFree, 32768 x 16 bit, at 10"] = [
  (k) => {
    fillRefs(1)(k, 4);
    k.refSet(A, 10, 4, 0);
  },
  (k) => k.refFindFree(A, 0, 32768, 4),
  4,
];
jobs["refCountUsed, 32768 x 16 bit"] = [fillRefs(1), (k) => k.refCountUsed(A, 0, 32768, 4), 4];

function loops(work, kernel) {
  let n = 1;
  for (;;) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < n; i++) work(kernel);
    const spent = Number(process.hrtime.bigint() - start);
    if (spent > SAMPLE_NS) return n;
    n *= 2;
  }
}
const p10 = (list) => list.sort((a, b) => a - b)[Math.floor(list.length / 10)];

console.log(`Node ${process.version}, ${cpus()[0].model}; ns per call, 10th percentile of ${SAMPLES} samples`);
console.log("| job | wasm | twin | twin / wasm |\n|---|---:|---:|---:|");
for (const [name, [prepare, work, order, calls = 1]] of Object.entries(jobs)) {
  if (process.argv[2] && !name.includes(process.argv[2])) continue;
  const result = [];
  for (const kernel of [wasm, twin]) {
    prepare(kernel, order);
    result.push({ kernel, n: loops(work, kernel), samples: [] });
  }
  for (let s = 0; s < SAMPLES; s++) {
    for (const { kernel, n, samples } of result) {
      const start = process.hrtime.bigint();
      for (let i = 0; i < n; i++) work(kernel);
      samples.push(Number(process.hrtime.bigint() - start) / n / calls);
    }
  }
  const [w, t] = result.map(({ samples }) => p10(samples));
  console.log(`| ${name} | ${w.toFixed(w < 100 ? 1 : 0)} | ${t.toFixed(t < 100 ? 1 : 0)} | ${(t / w).toFixed(1)} |`);
}
