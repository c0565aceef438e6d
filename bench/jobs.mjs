// Mirror and backup in our qemu-storage-daemon against QEMU's, over QMP.
//   node bench/jobs.mjs [rounds] [MiB] [kind] [format]        BLOCKCORE_DAEMON: another program to measure
//
// The target is there already and gets overwritten: where a virtual machine has given its free memory back to its host, the first to
// write a new file pays several times the job for getting it again.
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { inTemporary, paired, QEMU_IMG, record } from "./lib/bench.mjs";

const rounds = Number(process.argv[2] ?? 3);
const size = Number(process.argv[3] ?? 2048);
const kinds = process.argv[4] === undefined ? ["mirror", "backup"] : [process.argv[4]];
const formats = process.argv[5] === undefined ? ["raw", "qcow2"] : [process.argv[5]];
const DAEMONS = {
  ours: process.env.BLOCKCORE_DAEMON ?? resolve("build/qemu/qemu-storage-daemon"),
  theirs: "qemu-storage-daemon",
};

/** CPU seconds of a process so far. */
function cpu(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** A daemon with a monitor on its standard streams. */
class Daemon {
  #waiting = [];
  #events = [];
  constructor(program, dir) {
    this.child = spawn(program, ["--chardev", "stdio,id=m", "--monitor", "m"], { cwd: dir, stdio: ["pipe", "pipe", "inherit"] });
    createInterface({ input: this.child.stdout }).on("line", (line) => {
      const message = JSON.parse(line);
      if ("event" in message) this.#events.push(message);
      for (const look of [...this.#waiting]) look(message);
    });
  }
  #next(match) {
    return new Promise((done) => {
      const look = (message) => {
        if (!match(message)) return;
        this.#waiting.splice(this.#waiting.indexOf(look), 1);
        done(message);
      };
      this.#waiting.push(look);
    });
  }
  async execute(command, args = {}) {
    const answer = this.#next((message) => "return" in message || "error" in message);
    this.child.stdin.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    const { error } = await answer;
    if (error) throw new Error(`${command}: ${error.desc}`);
  }
  async event(name) {
    if (!this.#events.some((message) => message.event === name)) await this.#next((message) => message.event === name);
    this.#events = [];
  }
  async end() {
    const ended = new Promise((done) => this.child.once("exit", done));
    this.child.stdin.write('{"execute":"quit"}\n');
    await ended;
  }
}

async function job(dir, program, kind, format) {
  const target = join(dir, `target.${format}`);
  const daemon = new Daemon(program, dir);
  await daemon.execute("qmp_capabilities");
  const add = (name, driver, filename) =>
    daemon.execute("blockdev-add", {
      driver,
      "node-name": name,
      discard: "unmap",
      file: { driver: "file", filename, discard: "unmap" },
    });
  await add("source", "qcow2", join(dir, "source.qcow2"));
  await add("target", format, target);
  const before = cpu(daemon.child.pid);
  const start = performance.now();
  await daemon.execute(`blockdev-${kind}`, { "job-id": "j", device: "source", target: "target", sync: "full" });
  await daemon.event(kind === "mirror" ? "BLOCK_JOB_READY" : "BLOCK_JOB_COMPLETED");
  const seconds = (performance.now() - start) / 1000;
  const used = cpu(daemon.child.pid) - before;
  if (kind === "mirror") {
    await daemon.execute("block-job-cancel", { device: "j" });
    await daemon.event("BLOCK_JOB_COMPLETED");
  }
  await daemon.end();
  return { rate: size / seconds, used };
}

await inTemporary(async (dir) => {
  const qemu = (program, ...args) => {
    const done = spawnSync(program, args, { cwd: dir, encoding: "utf8" });
    if (done.status !== 0) throw new Error(done.stderr);
  };
  qemu(QEMU_IMG, "create", "-q", "-f", "qcow2", "source.qcow2", `${size}M`);
  // Three quarters data, the rest never written.
  const quarter = size / 4;
  qemu("qemu-io", "-c", `write -q -P 90 0 ${2 * quarter}M`, "-c", `write -q -P 91 ${3 * quarter}M ${quarter}M`, "source.qcow2");
  for (const format of formats) {
    qemu(QEMU_IMG, "create", "-q", "-f", format, `target.${format}`, `${size}M`);
    qemu(
      "qemu-io",
      "-f",
      format,
      "-c",
      `write -q -P 7 0 ${size / 2}M`,
      "-c",
      `write -q -P 7 ${size / 2}M ${size / 2}M`,
      `target.${format}`,
    );
  }
  for (const kind of kinds) {
    for (const format of formats) {
      const once = (program) => () => job(dir, program, kind, format);
      // Not counted: it is the target's first time, too.
      await once(DAEMONS.theirs)();
      const { ours, theirs } = await paired(rounds, { ours: once(DAEMONS.ours), theirs: once(DAEMONS.theirs) });
      record({
        bench: "jobs",
        name: `${kind} of ${size} MiB, qcow2 to ${format}`,
        unit: "MiB/s",
        ours: ours.rate,
        theirs: theirs.rate,
        ratio: ours.rate / theirs.rate,
        target: 1,
        atLeast: true,
        note: `daemon's CPU ${ours.used.toFixed(2)} s, theirs ${theirs.used.toFixed(2)} s`,
      });
    }
  }
});
