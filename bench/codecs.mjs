// How fast are the codecs and ciphers, MiB of plain data per second? `node bench/codecs.mjs [MiB]`; prints one JSON line each.
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";

const mebibytes = Number(process.argv[2] ?? 16);
const dir = mkdtempSync("build/bench-codecs-");
const outfile = join(dir, "codecs.mjs");
const source = [
  "codec/node-codecs",
  "codec/portable",
  "codec/node-crypto",
  "codec/crypto/portable-crypto",
  "codec/crypto/sector-cipher",
  "codec/checksum/crc32",
  "codec/checksum/crc32c",
  "codec/checksum/adler32",
]
  .map((file) => `export * from "./src/${file}.ts";`)
  .join("\n");
await build({
  stdin: { contents: source, resolveDir: "." },
  outfile,
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node20",
  packages: "external",
  logLevel: "warning",
});
const m = await import(pathToFileURL(outfile).href);
rmSync(dir, { recursive: true });

// Programs of this machine: neither zeros nor noise.
const CLUSTER = 65536;
const clusters = [];
for (const name of readdirSync("/usr/bin").sort()) {
  const path = `/usr/bin/${name}`;
  if (clusters.length >= mebibytes * 16) break;
  try {
    if (!statSync(path).isFile()) continue;
    const bytes = readFileSync(path);
    for (let at = 0; at + CLUSTER <= bytes.length && clusters.length < mebibytes * 16; at += CLUSTER)
      clusters.push(Uint8Array.from(bytes.subarray(at, at + CLUSTER)));
  } catch {}
}
const total = clusters.length / 16;

async function measure(name, work) {
  const rates = [];
  let cpu = Infinity;
  for (let i = 0; i < 3; i++) {
    const before = process.cpuUsage();
    const start = performance.now();
    await work();
    rates.push(total / ((performance.now() - start) / 1000));
    const used = process.cpuUsage(before);
    cpu = Math.min(cpu, (used.user + used.system) / 1e6);
  }
  console.log(JSON.stringify({ name, MiBps: Math.round(Math.max(...rates)), MiBpCpuSecond: Math.round(total / cpu) }));
}

async function inFlight(count, work) {
  let next = 0;
  await Promise.all(
    Array.from({ length: count }, async () => {
      while (next < clusters.length) await work(next++);
    }),
  );
}

for (const [who, codecs] of [
  ["node", m.nodeCodecs],
  ["portable", m.portableCodecs],
])
  for (const [name, level] of [
    ["deflate", 6],
    ["deflate", 1],
    ["zstd", 3],
    ["zstd", 1],
  ]) {
    await codecs.load(name);
    const compressor = codecs.compressor(name, { level });
    const decompressor = codecs.decompressor(name);
    const packed = clusters.map((cluster) => Uint8Array.from(compressor.sync(cluster, 2 * CLUSTER)));
    const ratio = packed.reduce((sum, bytes) => sum + bytes.length, 0) / (clusters.length * CLUSTER);
    const label = `${who} ${name} -${level} (${ratio.toFixed(3)})`;
    const out = new Uint8Array(CLUSTER);
    await measure(`${label} compress sync`, () => clusters.forEach((cluster) => compressor.sync(cluster, CLUSTER)));
    if (compressor.parallel > 1)
      await measure(`${label} compress async x${compressor.parallel}`, () =>
        inFlight(compressor.parallel, (i) => compressor.async(clusters[i], CLUSTER)),
      );
    await measure(`${label} decompress sync`, () => packed.forEach((bytes) => decompressor.sync(bytes, out)));
    if (compressor.parallel > 1) {
      const outs = clusters.map(() => new Uint8Array(CLUSTER));
      await measure(`${label} decompress async x8`, () => inFlight(8, (i) => decompressor.async(packed[i], outs[i])));
    }
  }

for (const [who, crypto] of [
  ["node", m.nodeCrypto],
  ["portable", m.portableCrypto],
])
  for (const [cipher, mode, ivgen] of [
    ["aes-256", "xts", "plain64"],
    ["aes-256", "cbc", "essiv"],
    ["serpent-256", "xts", "plain64"],
    ["twofish-256", "xts", "plain64"],
  ]) {
    if (who === "portable" && !cipher.startsWith("aes")) continue;
    const keyBytes = m.sectorKeyBytes(cipher, mode);
    const sectors = m.makeSectorCipher(crypto, {
      cipher,
      mode,
      ivgen,
      ivgenHash: "sha256",
      key: Uint8Array.from({ length: keyBytes }, (_, i) => i),
    });
    const data = Uint8Array.from(clusters[0]);
    for (const direction of ["encrypt", "decrypt"])
      await measure(`${who} ${cipher}-${mode}-${ivgen} ${direction}`, () =>
        clusters.forEach((_, i) => sectors[direction](data, i * 128)),
      );
  }
for (const name of ["crc32", "crc32c", "adler32"]) await measure(name, () => clusters.forEach((cluster) => m[name](cluster)));
