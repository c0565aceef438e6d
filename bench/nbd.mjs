// Our qemu-nbd against QEMU's, with the same clients: nbdcopy for bulk, qemu-img bench for 4 KiB requests all over the image.
//   node bench/nbd.mjs [rounds] [MiB] [case]     case: a regular expression; BLOCKCORE_NBD: another program to measure
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { inTemporary, paired, QEMU_IMG, record, timed } from "./lib/bench.mjs";

const rounds = Number(process.argv[2] ?? 3);
const size = Number(process.argv[3] ?? 1024);
const wanted = new RegExp(process.argv[4] ?? "");
const SERVERS = { ours: process.env.BLOCKCORE_NBD ?? resolve("build/qemu/qemu-nbd"), theirs: "qemu-nbd" };
const REQUESTS = 20_000;
/** An odd number of pages, so that the requests visit places all over the image. */
const STEP = 7_919 * 4096;

/** CPU seconds of a process so far. */
function cpu(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function serve(dir, program, format, file, action) {
  const socket = join(dir, "bench.sock");
  const child = spawn(program, ["-t", "-e", "16", "-f", format, "-k", socket, file], {
    cwd: dir,
    stdio: ["ignore", "ignore", "inherit"],
  });
  while (!existsSync(socket)) await new Promise((done) => setTimeout(done, 10));
  // Servers run for long: what is measured is the second time.
  action(`nbd+unix:///?socket=${socket}`);
  const before = cpu(child.pid);
  const amount = action(`nbd+unix:///?socket=${socket}`);
  const used = cpu(child.pid) - before;
  const ended = new Promise((done) => child.once("exit", done));
  child.kill();
  await ended;
  return { amount, used };
}

function bulk(dir, from, to) {
  return size / timed("nbdcopy", [from, to], dir).wall;
}

function requests(dir, uri, depth, more) {
  const args = [
    "bench",
    "-f",
    "raw",
    "-c",
    String(REQUESTS),
    "-d",
    String(depth),
    "-s",
    "4096",
    "-S",
    String(STEP),
    ...more,
    uri,
  ];
  const done = spawnSync(QEMU_IMG, args, { cwd: dir, encoding: "utf8" });
  const found = /Run completed in ([\d.]+) seconds/.exec(done.stdout);
  if (!found) throw new Error(done.stderr);
  return REQUESTS / Number(found[1]);
}

await inTemporary(async (dir) => {
  const qemu = (...args) => {
    const done = spawnSync(args[0], args.slice(1), { cwd: dir, encoding: "utf8" });
    if (done.status !== 0) throw new Error(done.stderr);
  };
  qemu(QEMU_IMG, "create", "-q", "-f", "raw", "source.raw", `${size}M`);
  qemu("qemu-io", "-f", "raw", "-c", `write -q -P 90 0 ${size}M`, "source.raw");
  for (const format of ["raw", "qcow2"]) {
    const file = `disk.${format}`;
    qemu(QEMU_IMG, "convert", "-O", format, "source.raw", file);
    const cases = [
      ["sequential read (nbdcopy)", "MiB/s", (uri) => bulk(dir, uri, "null:")],
      ["sequential write (nbdcopy)", "MiB/s", (uri) => bulk(dir, "source.raw", uri)],
      ["4 KiB random read, depth 1", "/s", (uri) => requests(dir, uri, 1, [])],
      ["4 KiB random read, depth 16", "/s", (uri) => requests(dir, uri, 16, [])],
      ["4 KiB random write, depth 16", "/s", (uri) => requests(dir, uri, 16, ["-w"])],
    ];
    for (const [name, unit, action] of cases.filter(([name]) => wanted.test(`${format}: ${name}`))) {
      const { ours, theirs } = await paired(rounds, {
        ours: () => serve(dir, SERVERS.ours, format, file, action),
        theirs: () => serve(dir, SERVERS.theirs, format, file, action),
      });
      record({
        bench: "nbd",
        name: `${format}: ${name}`,
        unit,
        ours: ours.amount,
        theirs: theirs.amount,
        ratio: ours.amount / theirs.amount,
        target: 0.7,
        atLeast: true,
        note: `server's CPU ${ours.used.toFixed(2)} s, theirs ${theirs.used.toFixed(2)} s`,
      });
    }
  }
});
