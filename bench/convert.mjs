// How fast are convert and compare, and how much memory do they take, against the real qemu-img? Page cache warm.
//   node bench/convert.mjs [MiB] [rounds] [case]     or BENCH_MIB, BENCH_ROUNDS; 2048 and 3 when absent: about three minutes
// Only cases whose names contain [case], when it is there.
import { spawnSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { closeSync, ftruncateSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { inTemporary, MiB, OURS, paired, QEMU_IMG, quickest, record, timed } from "./lib/bench.mjs";

const size = Number(process.argv[2] ?? process.env.BENCH_MIB ?? 2048);
const rounds = Number(process.argv[3] ?? process.env.BENCH_ROUNDS ?? 3);

/** A third holes, a third noise, a third text-like data, some in fragments of 64 KiB. Always the same shape. */
function makeImage(file) {
  const fd = openSync(file, "w");
  ftruncateSync(fd, size * MiB);
  const noise = randomFillSync(Buffer.alloc(MiB));
  const text = Buffer.alloc(MiB);
  let state = 1;
  const random = () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) / 2 ** 32;
  for (let i = 0; i < MiB; i++) text[i] = 97 + ((i * 7 + (i >> 6) * 13 + (i >> 10) * 31) % 23);
  for (let at = 0; at < size; at++) {
    const kind = random();
    if (kind < 0.35) continue;
    if (kind < 0.6) writeSync(fd, noise, 0, MiB, at * MiB);
    else if (kind < 0.9) writeSync(fd, text, 0, MiB, at * MiB);
    else for (let part = 0; part < MiB; part += 131072) writeSync(fd, noise, 0, 65536, at * MiB + part);
  }
  closeSync(fd);
}

const only = process.argv[4] ?? "";
const ZSTD = "compression_type=zstd";
const cases = [
  ["raw to qcow2", ["convert", "-f", "raw", "-O", "qcow2", "mix.raw", "out"], 1],
  ["qcow2 to raw", ["convert", "-f", "qcow2", "-O", "raw", "mix.qcow2", "out"], 1],
  ["qcow2 to qcow2", ["convert", "-f", "qcow2", "-O", "qcow2", "mix.qcow2", "out"], 1],
  ["raw to compressed qcow2", ["convert", "-c", "-f", "raw", "-O", "qcow2", "mix.raw", "out"], 0.6],
  ["raw to qcow2 compressed with zstd", ["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", ZSTD, "mix.raw", "out"], 0.6],
  ["compressed qcow2 to raw", ["convert", "-f", "qcow2", "-O", "raw", "packed.qcow2", "out"], 1],
  ["qcow2 compressed with zstd to raw", ["convert", "-f", "qcow2", "-O", "raw", "packed-zstd.qcow2", "out"], 1],
  ["compare qcow2 with raw", ["compare", "-f", "qcow2", "-F", "raw", "mix.qcow2", "mix.raw"], 1],
];

await inTemporary(async (dir) => {
  makeImage(join(dir, "mix.raw"));
  const wanted = cases.filter(([name]) => name.includes(only));
  for (const [file, options] of [
    ["mix.qcow2", []],
    ["packed.qcow2", ["-c"]],
    ["packed-zstd.qcow2", ["-c", "-o", ZSTD]],
  ])
    if (wanted.some(([, args]) => args.includes(file)))
      spawnSync(QEMU_IMG, ["convert", ...options, "-f", "raw", "-O", "qcow2", "mix.raw", file], { cwd: dir });
  const idle = await paired(5, { node: () => timed(process.execPath, ["-e", "0"], dir) });
  let peak = 0;
  for (const [name, args, target] of wanted) {
    const once = (program) => () => {
      rmSync(join(dir, "out"), { force: true });
      spawnSync("sync");
      return timed(program, args, dir, { warm: size });
    };
    const { ours, theirs } = await paired(rounds, { ours: once(OURS), theirs: once(QEMU_IMG) }, quickest);
    const note = `${size} MiB; CPU ${ours.cpu.toFixed(2)} s and ${theirs.cpu.toFixed(2)} s; memory ${ours.memory.toFixed(0)} and ${theirs.memory.toFixed(0)} MiB`;
    record({
      bench: "convert",
      name,
      unit: "s",
      ours: ours.wall,
      theirs: theirs.wall,
      ratio: ours.wall / theirs.wall,
      target,
      note,
    });
    peak = Math.max(peak, ours.memory);
  }
  if (only !== "") return;
  record({
    bench: "convert",
    name: "peak memory over idle Node",
    unit: "MiB",
    ours: peak - idle.node.memory,
    target: 150,
    note: `idle Node: ${idle.node.memory.toFixed(0)} MiB; the largest of the cases above`,
  });
});
