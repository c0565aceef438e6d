/** Our qemu-nbd with libnbd's and QEMU's clients; our client with QEMU's server and nbdkit. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { skip } from "../support/skip.js";

const dir = mkdtempSync(join(tmpdir(), "blockcore-nbd-"));
const OURS = join(process.cwd(), "build/qemu");
const children: ChildProcess[] = [];
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

function have(...programs: string[]): boolean {
  return programs.every((program) => spawnSync("sh", ["-c", `command -v ${program}`]).status === 0);
}

function run(program: string, ...args: string[]): string {
  const result = spawnSync(program, args, { cwd: dir, encoding: "utf8", timeout: 60_000 });
  assert.is(result.status, 0, `${program} ${args.join(" ")}: ${result.stdout}${result.stderr}`);
  return result.stdout;
}

async function start(socket: string, program: string, ...args: string[]): Promise<ChildProcess> {
  const child = spawn(program, args, { cwd: dir, stdio: ["ignore", "ignore", "inherit"] });
  children.push(child);
  for (let tries = 0; !existsSync(join(dir, socket)); tries++) {
    assert.ok(tries < 200, `${program} does not listen`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return child;
}

async function stop(child: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await ended;
}

const uri = (socket: string, name = ""): string => `nbd+unix:///${name}?socket=${join(dir, socket)}`;

test("nbdinfo, nbdcopy both ways, qemu-img and qemu-io against our server", async () => {
  if (!have("nbdinfo", "nbdcopy", "qemu-img", "qemu-io")) return skip("libnbd-bin or qemu-utils is not installed");
  run("qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "32M");
  run("qemu-io", "-c", "write -q -P 5 1M 3M", "-c", "write -q -P 6 20M 64k", "a.qcow2");
  const server = await start(
    "a.sock",
    `${OURS}/qemu-nbd`,
    "-f",
    "qcow2",
    "-k",
    "a.sock",
    "-t",
    "-e",
    "8",
    "-x",
    "disk",
    "-D",
    "words",
    "-A",
    "a.qcow2",
  );
  const info = JSON.parse(run("nbdinfo", "--json", uri("a.sock", "disk"))) as { exports: Record<string, unknown>[] };
  assert.is(info.exports[0]!["export-size"], 32 << 20);
  assert.is(info.exports[0]!["is_read_only"], false);
  const map = JSON.parse(run("nbdinfo", "--map", "--json", uri("a.sock", "disk"))) as {
    offset: number;
    length: number;
    type: number;
  }[];
  assert.equal(
    map.map(({ offset, length, type }) => [offset, length, type]),
    [
      [0, 1 << 20, 3],
      [1 << 20, 3 << 20, 0],
      [4 << 20, 16 << 20, 3],
      [20 << 20, 65536, 0],
      [(20 << 20) + 65536, (12 << 20) - 65536, 3],
    ],
  );
  run("nbdcopy", uri("a.sock", "disk"), join(dir, "out.raw"));
  run("qemu-img", "compare", "-U", "-f", "qcow2", "-F", "raw", "a.qcow2", "out.raw");
  run(
    "qemu-io",
    "-f",
    "raw",
    "-c",
    "write -q -P 9 10M 1M",
    "-c",
    "write -q -z 1M 64k",
    "-c",
    "discard -q 2M 64k",
    "-c",
    "read -q -P 9 10M 1M",
    "-c",
    "flush",
    uri("a.sock", "disk"),
  );
  run("qemu-img", "create", "-q", "-f", "raw", "in.raw", "32M");
  run("qemu-io", "-f", "raw", "-c", "write -q -P 3 0 5M", "in.raw");
  run("nbdcopy", join(dir, "in.raw"), uri("a.sock", "disk"));
  assert.match(run("qemu-nbd", "-L", "-k", join(dir, "a.sock")), /description: words/);
  await stop(server);
  run("qemu-img", "check", "-q", "a.qcow2");
  run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", "a.qcow2", "in.raw");
});

test("a server that ends with its last client, --fork and --pid-file", () => {
  if (!have("qemu-img")) return skip("qemu-utils is not installed");
  run("qemu-img", "create", "-q", "-f", "raw", "f.raw", "1M");
  run(`${OURS}/qemu-nbd`, "-f", "raw", "-r", "-k", "f.sock", "--fork", "--pid-file", "f.pid", "f.raw");
  assert.ok(existsSync(join(dir, "f.pid")));
  run("qemu-img", "info", "-f", "raw", uri("f.sock"));
  for (let tries = 0; existsSync(join(dir, "f.sock")) && tries < 100; tries++) spawnSync("sleep", ["0.05"]);
  assert.not(existsSync(join(dir, "f.sock")), "the server has gone");
});

test("our client against qemu-nbd and nbdkit", async () => {
  if (!have("qemu-nbd", "nbdkit", "qemu-img", "qemu-io")) return skip("qemu-utils or nbdkit is not installed");
  run("qemu-img", "create", "-q", "-f", "qcow2", "b.qcow2", "16M");
  const theirs = await start("b.sock", "qemu-nbd", "-f", "qcow2", "-k", join(dir, "b.sock"), "-t", "-e", "4", "b.qcow2");
  run(
    `${OURS}/qemu-io`,
    "-f",
    "raw",
    "-c",
    "write -q -P 77 3M 2M",
    "-c",
    "write -q -z 3M 64k",
    "-c",
    "read -q -P 77 4M 1M",
    "-c",
    "flush",
    uri("b.sock"),
  );
  run(`${OURS}/qemu-img`, "convert", "-f", "raw", "-O", "raw", uri("b.sock"), "b.raw");
  await stop(theirs);
  run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", "b.qcow2", "b.raw");
  run("qemu-io", "-c", "read -q -P 77 4M 1M", "b.qcow2");
  const kit = await start("k.sock", "nbdkit", "-f", "-U", join(dir, "k.sock"), "memory", "10M");
  run(
    `${OURS}/qemu-io`,
    "-f",
    "raw",
    "-c",
    "write -q -P 3 0 1M",
    "-c",
    "read -q -P 3 0 1M",
    "-c",
    "read -q -P 0 5M 1M",
    uri("k.sock"),
  );
  const map = JSON.parse(run(`${OURS}/qemu-img`, "map", "--output=json", "-f", "raw", uri("k.sock"))) as {
    length: number;
    zero: boolean;
  }[];
  assert.equal(
    map.map(({ length, zero }) => [length, zero]),
    [
      [1 << 20, false],
      [9 << 20, true],
    ],
  );
  await stop(kit);
});

test.run();
