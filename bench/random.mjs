// 4 KiB requests one at a time: ours in process, theirs by `qemu-img bench -d 1` (which reports its own time, without start-up).
//   node bench/random.mjs [rounds]
import { spawnSync } from "node:child_process";
import { closeSync, openSync as openFile, readSync as readFile, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { inTemporary, MiB, paired, QEMU_IMG, record } from "./lib/bench.mjs";

const rounds = Number(process.argv[2] ?? 5);
const { open, openSync, create } = await import(pathToFileURL(resolve("build/dist/node.js")).href);
const SIZE = 1024 * MiB;
const READS = 20_000;
const WRITES = 8_000;
/** An odd number of pages: visits places all over the image, as random as qemu-img bench can be told to be. */
const STEP = 7_919 * 4096;

function qemuBench(dir, file, count, extra) {
  const done = spawnSync(QEMU_IMG, ["bench", "-f", "qcow2", "-c", String(count), "-d", "1", "-s", "4096", ...extra, file], {
    cwd: dir,
    encoding: "utf8",
  });
  const found = /Run completed in ([\d.]+) seconds/.exec(done.stdout);
  if (!found) throw new Error(done.stderr);
  return count / Number(found[1]);
}

await inTemporary(async (dir) => {
  const full = join(dir, "full.qcow2");
  await create(full, { format: "qcow2", size: SIZE });
  const image = await open(full, { format: "qcow2", writable: true });
  const chunk = new Uint8Array(4 * MiB).fill(0x5a);
  for (let at = 0; at < SIZE; at += chunk.length) await image.write(chunk, at);
  await image.close();
  const into = new Uint8Array(4096);
  const place = (i) => (i * STEP) % SIZE;

  const sync = openSync(full, { format: "qcow2" });
  const readSync = () => {
    const start = performance.now();
    for (let i = 0; i < READS; i++) sync.readInto(into, place(i));
    return READS / ((performance.now() - start) / 1000);
  };
  const later = await open(full, { format: "qcow2" });
  const readLater = async () => {
    const start = performance.now();
    for (let i = 0; i < READS; i++) await later.readInto(into, place(i));
    return READS / ((performance.now() - start) / 1000);
  };
  const theirRead = () => qemuBench(dir, "full.qcow2", READS, ["-S", String(STEP)]);
  // What Node's own call costs: nothing in process can be quicker.
  const descriptor = openFile(full, "r");
  const bare = () => {
    const start = performance.now();
    for (let i = 0; i < READS; i++) readFile(descriptor, into, 0, 4096, place(i));
    return READS / ((performance.now() - start) / 1000);
  };
  readSync();
  const reads = await paired(rounds, { ours: readSync, later: readLater, bare, theirs: theirRead });
  closeSync(descriptor);
  record({
    bench: "random",
    name: "4 KiB reads, synchronous",
    unit: "/s",
    ours: reads.ours,
    theirs: reads.theirs,
    ratio: reads.ours / reads.theirs,
    target: 5,
    atLeast: true,
    note: `openSync in process; qcow2 of 1 GiB, all allocated; fs.readSync alone: ${reads.bare.toFixed(0)} /s`,
  });
  record({
    bench: "random",
    name: "4 KiB reads, awaited",
    unit: "/s",
    ours: reads.later,
    theirs: reads.theirs,
    ratio: reads.later / reads.theirs,
    note: "open in process, one at a time",
  });
  sync.close();
  await later.close();

  // Allocating writes: each hits a cluster of its own.
  const bytes = new Uint8Array(4096).fill(0x33);
  const fresh = async () => {
    const file = join(dir, "fresh.qcow2");
    rmSync(file, { force: true });
    await create(file, { format: "qcow2", size: SIZE });
    return file;
  };
  const ours = async () => {
    const target = openSync(await fresh(), { format: "qcow2", writable: true });
    const start = performance.now();
    for (let i = 0; i < WRITES; i++) target.write(bytes, (i * 65536 * 7) % SIZE);
    const rate = WRITES / ((performance.now() - start) / 1000);
    target.close();
    return rate;
  };
  const theirs = async () => {
    await fresh();
    return qemuBench(dir, "fresh.qcow2", WRITES, ["-w", "-S", String(65536 * 7)]);
  };
  const writes = await paired(rounds, { ours, theirs });
  record({
    bench: "random",
    name: "4 KiB allocating writes",
    unit: "/s",
    ours: writes.ours,
    theirs: writes.theirs,
    ratio: writes.ours / writes.theirs,
    note: "openSync in process; each in a new cluster of 64 KiB",
  });
});
