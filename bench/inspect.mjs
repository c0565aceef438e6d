// How fast are map and check, in process, against the real qemu-img? Two images that are all metadata.
//   node bench/inspect.mjs [rounds]
import { spawnSync } from "node:child_process";
import { closeSync, openSync as openFile, readSync, writeSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { inTemporary, OURS, paired, QEMU_IMG, record, timed } from "./lib/bench.mjs";

const rounds = Number(process.argv[2] ?? 5);
const { openSync } = await import(pathToFileURL(resolve("build/dist/node.js")).href);

function qemuImg(dir, ...args) {
  const done = spawnSync(QEMU_IMG, args, { cwd: dir, stdio: "ignore" });
  if (done.status !== 0) throw new Error(`${QEMU_IMG} ${args.join(" ")}: status ${done.status ?? done.signal}`);
}

/** Of a preallocated image, leaves 60,000 clusters at random places, in random order in the file. */
function scatter(dir, file, count) {
  const fd = openFile(join(dir, file), "r+");
  const head = Buffer.alloc(104);
  readSync(fd, head, 0, 104, 0);
  const [l1Entries, l1Offset] = [head.readUInt32BE(36), Number(head.readBigUInt64BE(40))];
  const l1 = Buffer.alloc(l1Entries * 8);
  readSync(fd, l1, 0, l1.length, l1Offset);
  const tables = Array.from({ length: l1Entries }, (_, i) => Number(l1.readBigUInt64BE(i * 8) & 0x00fffffffffffe00n));
  const entries = Buffer.alloc(l1Entries * 65536);
  for (const [i, at] of tables.entries()) readSync(fd, entries, i * 65536, 65536, at);
  let state = 7;
  const random = (below) => Math.floor(((state = (Math.imul(state, 1103515245) + 12345) >>> 0) / 2 ** 32) * below);
  const total = entries.length / 8;
  const chosen = new Set();
  while (chosen.size < count) chosen.add(random(total));
  const hosts = [...chosen].map((index) => entries.readBigUInt64BE(index * 8));
  const scattered = Buffer.alloc(entries.length);
  for (const index of chosen) scattered.writeBigUInt64BE(hosts.splice(random(hosts.length), 1)[0], index * 8);
  for (const [i, at] of tables.entries()) writeSync(fd, scattered, i * 65536, 65536, at);
  closeSync(fd);
  qemuImg(dir, "check", "-r", "leaks", file);
}

const seconds = (work) => {
  const start = performance.now();
  work();
  return (performance.now() - start) / 1000;
};

await inTemporary(async (dir) => {
  qemuImg(dir, "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k,preallocation=metadata", "dense.qcow2", "64G");
  qemuImg(dir, "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", "sparse.qcow2", "64G");
  scatter(dir, "sparse.qcow2", 60_000);
  for (const [file, what] of [
    ["dense.qcow2", "64 GiB of 4 KiB clusters, preallocated"],
    ["sparse.qcow2", "60,000 clusters of 64 KiB at random"],
  ]) {
    const checkArgs = ["check", "-f", "qcow2", file];
    const mapArgs = ["map", "-f", "qcow2", "--output=json", file];
    for (const [verb, args, work] of [
      [
        "check",
        checkArgs,
        (image) => {
          const report = image.check();
          if ((report.corruptions ?? 0) + (report.leaks ?? 0) + report.checkErrors > 0) throw new Error("the image is not clean");
        },
      ],
      [
        "map",
        mapArgs,
        (image) => {
          let end = 0;
          for (const entry of image.extents()) end = entry.start + entry.length;
          if (end !== image.size) throw new Error("the map has a gap");
        },
      ],
    ]) {
      const inProcess = () =>
        seconds(() => {
          const image = openSync(join(dir, file), { format: "qcow2" });
          work(image);
          image.close();
        });
      inProcess(); // a program that has run for a while is what "in process" means
      const { ours, theirs, cli } = await paired(rounds, {
        ours: inProcess,
        theirs: () => timed(QEMU_IMG, args, dir).wall,
        cli: () => timed(OURS, args, dir).wall,
      });
      record({
        bench: "inspect",
        name: `${verb}, ${what}`,
        unit: "s",
        ours,
        theirs,
        ratio: ours / theirs,
        target: 0.5,
        note: `openSync in process; our command line: ${cli.toFixed(2)} s`,
      });
    }
  }
});
