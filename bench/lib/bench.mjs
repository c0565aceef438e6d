// What the benchmarks share: paired runs, medians, and the results file bench/results/<date>.json with its .md beside it.
import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { cpus, tmpdir, totalmem } from "node:os";
import { join, resolve } from "node:path";

// With this variable set every Node.js reads a bundle of certificates before the first line of its program, 25 ms or more: what is
// to be measured is what a program takes.
delete process.env.NODE_EXTRA_CA_CERTS;

export const MiB = 1 << 20;
export const QEMU_IMG = "qemu-img";
/** The programs that are measured: of another build with BLOCKCORE_BUILD. */
const build = process.env.BLOCKCORE_BUILD ?? "build";
export const OURS = resolve(build, "qemu/qemu-img");
export const BLOCKCORE = resolve(build, "cli.js");

/** A temporary directory for the time of `action`. */
export async function inTemporary(action) {
  const dir = mkdtempSync(join(tmpdir(), "blockcore-bench-"));
  try {
    await action(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Takes `mib` MiB of page cache in `dir` and lets them go. A virtual machine may have given its free memory back to its host, and
 * getting it again costs the next writer more than the writing: after this every contestant finds the same memory ready, if it
 * starts at once.
 */
export function warmMemory(dir, mib) {
  const file = join(dir, "warm");
  const fd = openSync(file, "w");
  const part = Buffer.alloc(4 * MiB, 1);
  for (let done = 0; done < mib; done += 4) writeSync(fd, part);
  closeSync(fd);
  rmSync(file);
}

/** Runs a program; returns wall seconds, CPU seconds and peak memory in MiB. `warm`: MiB of page cache it is about to fill. */
export function timed(program, args, cwd, { status = 0, warm = 0 } = {}) {
  if (warm > 0) warmMemory(cwd, warm);
  const start = performance.now();
  const done = spawnSync("/usr/bin/time", ["-q", "-f", "%U %S %M", program, ...args], {
    cwd,
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  const wall = (performance.now() - start) / 1000;
  if (done.status !== status) throw new Error(`${program} ${args.join(" ")}: status ${done.status}\n${done.stderr}`);
  const [user, system, memory] = done.stderr.trim().split("\n").at(-1).split(" ").map(Number);
  return { wall, cpu: user + system, memory: memory / 1024, stdout: done.stdout };
}

/** The least disturbed run: for programs that do the same work each time, on a machine whose disturbances only ever add. */
export const quickest = (values) => Math.min(...values);

/** The least of each number of `runs` runs one after the other; fewer where they have taken `seconds` already. */
export function burst(run, { runs, seconds = 4 }) {
  const samples = [];
  const end = performance.now() + seconds * 1000;
  while (samples.length < runs && (samples.length === 0 || performance.now() < end)) samples.push(run());
  return summary(samples, quickest);
}

/**
 * Runs A B B A …: what disturbs the machine disturbs both. The functions return numbers, or objects of numbers; of each, `pick`
 * makes one of all rounds. No further round is begun after `seconds`, or when `settled` says of the samples so far that they will do.
 */
export async function paired(rounds, contestants, pick = median, { seconds = Infinity, settled = () => false } = {}) {
  const samples = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]));
  const end = performance.now() + seconds * 1000;
  for (let round = 0; round < rounds && (round === 0 || performance.now() < end); round++) {
    // They take turns in going first: where a hypervisor takes free memory back, the first to write pays for getting it again.
    const order = Object.entries(contestants);
    if (round % 2 === 1) order.reverse();
    for (const [name, run] of order) samples[name].push(await run(round));
    if (settled(samples)) break;
  }
  return Object.fromEntries(Object.entries(samples).map(([name, list]) => [name, summary(list, pick)]));
}
function summary(list, pick) {
  if (typeof list[0] === "number") return pick(list);
  const keys = Object.keys(list[0]).filter((key) => typeof list[0][key] === "number");
  return Object.fromEntries(keys.map((key) => [key, pick(list.map((item) => item[key]))]));
}

const git = (...args) => {
  try {
    return execFileSync("git", args, { encoding: "utf8" }).trim();
  } catch {
    return "";
  }
};

function machine() {
  const version = spawnSync(QEMU_IMG, ["--version"], { encoding: "utf8" }).stdout?.split("\n")[0] ?? "";
  return {
    cpu: cpus()[0].model.trim(),
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch}`,
    node: process.version,
    peer: version,
    commit: git("rev-parse", "--short", "HEAD") + (git("status", "--porcelain", "--", "src", "assembly") === "" ? "" : "+"),
  };
}

/**
 * Writes one line of results. `target` is the largest (or with `atLeast` the smallest) value that is good enough, of `ratio`
 * (ours / theirs) where there is one, of `ours` otherwise.
 */
export function record({ bench, name, unit, ours, theirs = null, ratio = null, target = null, atLeast = false, note = "" }) {
  const value = ratio ?? ours;
  const met = target === null ? null : atLeast ? value >= target : value <= target;
  const line = { bench, name, unit, ours, theirs, ratio, target, atLeast, met, note };
  const date = new Date().toISOString().slice(0, 10);
  mkdirSync("bench/results", { recursive: true });
  const file = `bench/results/${date}.json`;
  const all = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : { results: [] };
  all.date = date;
  all.machine = machine();
  all.results = [...all.results.filter((other) => other.bench !== bench || other.name !== name), line];
  writeFileSync(file, `${JSON.stringify(all, null, 1)}\n`);
  writeFileSync(file.replace(/json$/, "md"), markdown(all));
  console.log(row(line));
}

const show = (value) => (value === null ? "" : Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3));
const row = ({ bench, name, unit, ours, theirs, ratio, target, atLeast, met, note }) =>
  `| ${bench} | ${name} | ${show(ours)} ${unit} | ${theirs === null ? "" : `${show(theirs)} ${unit}`} | ${ratio === null ? "" : `${show(ratio)} ×`} | ${target === null ? "" : `${atLeast ? "≥" : "≤"} ${target}`} | ${met === null ? "" : met ? "yes" : "**no**"} | ${note} |`;

function markdown({ date, machine: m, results }) {
  return `# Measured ${date}

${m.cpu}, ${m.cores} cores, ${m.memoryGiB} GiB, ${m.platform}; Node ${m.node}; ${m.peer}; commit ${m.commit}.
Runs in turns (ours, theirs, theirs, ours …) on a shared, noisy machine, files in the page cache; medians, but for whole conversions the quickest run of each (what disturbs a machine only ever adds). \`npm run bench\` repeats them.

| bench | what | Blockcore | qemu-img | ratio | target | met | note |
|---|---|---:|---:|---:|---|---|---|
${results.map(row).join("\n")}
`;
}
