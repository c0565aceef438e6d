// How fast is convert, against the real qemu-img? Page cache warm; a mixed image of 2 GiB (or the MiB given as argument).
//   node bench/convert.mjs [MiB] [rounds]
import { spawnSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { closeSync, mkdtempSync, openSync, rmSync, ftruncateSync, writeSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join, resolve } from "node:path";

const MiB = 1 << 20;
const size = Number(process.argv[2] ?? 2048);
const rounds = Number(process.argv[3] ?? 3);
const ours = resolve("build/qemu/qemu-img");
const dir = mkdtempSync(join(tmpdir(), "bench-convert-"));

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

function once(program, args, out) {
  rmSync(join(dir, out), { force: true });
  spawnSync("sync");
  const start = performance.now();
  const done = spawnSync("/usr/bin/time", ["-f", "%e %U %S %M", program, ...args, out], { cwd: dir, encoding: "utf8" });
  const wall = (performance.now() - start) / 1000;
  if (done.status !== 0) throw new Error(done.stderr);
  const [, user, system, memory] = done.stderr.trim().split("\n").at(-1).split(" ").map(Number);
  return { wall, cpu: user + system, memory: memory / 1024 };
}

const cases = [
  ["raw to qcow2", ["convert", "-f", "raw", "-O", "qcow2", "mix.raw"]],
  ["qcow2 to raw", ["convert", "-f", "qcow2", "-O", "raw", "mix.qcow2"]],
  ["raw to compressed qcow2", ["convert", "-c", "-f", "raw", "-O", "qcow2", "mix.raw"]],
];
try {
  makeImage(join(dir, "mix.raw"));
  spawnSync("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", "mix.raw", "mix.qcow2"], { cwd: dir });
  console.log(`${size} MiB, best of ${rounds}, ${cpus().length} cpus, node ${process.version}`);
  for (const [name, args] of cases) {
    const best = { real: null, ours: null };
    for (let round = 0; round < rounds; round++) {
      for (const [who, program] of [["real", "qemu-img"], ["ours", ours]]) {
        const result = once(program, args, "out");
        if (best[who] === null || result.wall < best[who].wall) best[who] = result;
      }
    }
    const show = ({ wall, cpu, memory }) => `${wall.toFixed(2)} s, cpu ${cpu.toFixed(2)} s, ${memory.toFixed(0)} MiB`;
    console.log(`${name}: real ${show(best.real)}; ours ${show(best.ours)}; ratio ${(best.ours.wall / best.real.wall).toFixed(2)}`);
  }
} finally {
  rmSync(dir, { recursive: true, force: true });
}
