/** Our qemu-nbd with libnbd's and QEMU's clients; our client with QEMU's server and nbdkit. */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { skip } from "../support/skip.js";
import { have, OURS, Servers } from "./servers.js";

const { dir, run, start, stop, uri } = new Servers("nbd");

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

test("--fork lets go of the pipes it was started with", () => {
  if (!have("qemu-img")) return skip("qemu-utils is not installed");
  run("qemu-img", "create", "-q", "-f", "raw", "p.raw", "1M");
  const started = spawnSync(`${OURS}/qemu-nbd`, ["-t", "-f", "raw", "-k", "p.sock", "--fork", "--pid-file", "p.pid", "p.raw"], {
    cwd: dir,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 20_000,
  });
  assert.is(started.status, 0, "the caller reads to the end of its output");
  process.kill(Number(readFileSync(join(dir, "p.pid"), "utf8")));
  const failed = spawnSync(`${OURS}/qemu-nbd`, ["--fork", "-k", "p.sock", "not-there.raw"], { cwd: dir, encoding: "utf8" });
  assert.is(failed.status, 1);
  assert.match(failed.stderr, /not-there/);
});

test("-s writes to an overlay that nobody keeps, -o shows a window", async () => {
  if (!have("qemu-img", "qemu-io")) return skip("qemu-utils is not installed");
  run("qemu-img", "create", "-q", "-f", "raw", "s.raw", "4M");
  run("qemu-io", "-f", "raw", "-c", "write -q -P 1 0 4M", "s.raw");
  const server = await start("s.sock", `${OURS}/qemu-nbd`, "-s", "-o", "1048576", "-f", "raw", "-k", "s.sock", "-t", "s.raw");
  run("qemu-io", "-f", "raw", "-c", "read -q -P 1 0 3M", "-c", "write -q -P 2 0 1M", "-c", "read -q -P 2 0 1M", uri("s.sock"));
  await stop(server);
  run("qemu-io", "-f", "raw", "-c", "read -q -P 1 0 4M", "s.raw");
});

test("nbd-server-stop takes the socket away, quit leaves it: as qemu-storage-daemon", () => {
  if (!have("qemu-storage-daemon")) return skip("qemu-storage-daemon is not installed");
  const start = { execute: "nbd-server-start", arguments: { addr: { type: "unix", data: { path: join(dir, "left.sock") } } } };
  const left = (program: string, ...more: object[]): boolean => {
    const input = [{ execute: "qmp_capabilities" }, start, ...more, { execute: "quit" }]
      .map((step) => JSON.stringify(step))
      .join("\n");
    spawnSync(program, ["--chardev", "stdio,id=m", "--monitor", "m"], { input, timeout: 20_000 });
    return existsSync(join(dir, "left.sock"));
  };
  for (const program of ["qemu-storage-daemon", `${OURS}/qemu-storage-daemon`]) {
    assert.is(left(program, { execute: "nbd-server-stop" }), false, program);
    assert.is(left(program), true, program);
  }
});

test("blockcore nbd and blockcore daemon are the same programs", async () => {
  const cli = join(process.cwd(), "build/cli.js");
  run(process.execPath, cli, "create", "-q", "-f", "raw", "c.raw", "1M");
  run(process.execPath, cli, "nbd", "-t", "-f", "raw", "-k", "c.sock", "--fork", "--pid-file", "c.pid", "c.raw");
  assert.match(run(process.execPath, cli, "nbd", "-L", "-k", join(dir, "c.sock")), /size: {2}1048576/);
  process.kill(Number(readFileSync(join(dir, "c.pid"), "utf8")));
  assert.match(run(process.execPath, cli, "daemon", "--help"), /^Usage: blockcore daemon/);
  assert.match(run(process.execPath, cli, "--help"), /^ {2}daemon /m);
});

test("an image that ends within a sector: whole sectors for clients, ours and QEMU's, and written as such", async () => {
  if (!have("qemu-img", "qemu-io", "qemu-nbd")) return skip("qemu-utils is not installed");
  const seen = async (server: string, client: string, ...format: string[]): Promise<string[]> => {
    writeFileSync(join(dir, "u.raw"), "0".repeat(1000));
    const child = await start("u.sock", `${server}qemu-nbd`, ...format, "-t", "-k", join(dir, "u.sock"), "u.raw");
    const disk = uri("u.sock");
    const transcript = [
      ...run(`${client}qemu-nbd`, "-L", "-k", join(dir, "u.sock"))
        .split("\n")
        .filter((line) => /size|min block/.test(line)),
      run(`${client}qemu-img`, "map", "--output=json", "-f", "raw", disk),
      run(
        `${client}qemu-io`,
        "-f",
        "raw",
        "-c",
        "read -qP 0x30 0 1000",
        "-c",
        "read -v 980 44",
        "-c",
        "discard -q 1000 24",
        disk,
      ),
      run(`${client}qemu-io`, "-f", "raw", "-c", "write -qP 7 1010 14", "-c", "write -qz 990 15", "-c", "read -v 980 44", disk),
    ];
    await stop(child);
    rmSync(join(dir, "u.sock"), { force: true });
    return [...transcript.map((text) => text.replace(/^.*ops.*\n/gm, "")), readFileSync(join(dir, "u.raw"), "latin1")];
  };
  for (const format of [["-f", "raw"], []]) {
    const real = await seen("", "", ...format);
    assert.equal(await seen(`${OURS}/`, "", ...format), real, "our server");
    assert.equal(await seen("", `${OURS}/`, ...format), real, "our client");
    assert.equal(await seen(`${OURS}/`, `${OURS}/`, ...format), real, "both");
  }
});

test("an option that nobody knows ends the connection that was made", async () => {
  if (!have("qemu-img")) return skip("qemu-utils is not installed");
  run("qemu-img", "create", "-q", "-f", "raw", "o.raw", "1M");
  const server = await start("o.sock", `${OURS}/qemu-nbd`, "-f", "raw", "-k", "o.sock", "-t", "o.raw");
  const failed = spawnSync(`${OURS}/qemu-img`, ["map", "--image-opts", `driver=nbd,path=${join(dir, "o.sock")},colour=red`], {
    encoding: "utf8",
    timeout: 20_000,
  });
  assert.is(failed.status, 1, "it ends");
  assert.match(failed.stderr, /doesn't support the option 'colour'/);
  await stop(server);
});

test("a server that ends with its last client, --fork and --pid-file", () => {
  if (!have("qemu-img")) return skip("qemu-utils is not installed");
  run("qemu-img", "create", "-q", "-f", "raw", "f.raw", "1M");
  run(`${OURS}/qemu-nbd`, "-f", "raw", "-r", "-k", "f.sock", "--fork", "--pid-file", "f.pid", "f.raw");
  assert.ok(existsSync(join(dir, "f.pid")));
  run("qemu-img", "info", "-f", "raw", uri("f.sock"));
  for (let tries = 0; existsSync(join(dir, "f.sock")) && tries < 100; tries++) spawnSync("sleep", ["0.05"]);
  assert.not(existsSync(join(dir, "f.sock")), "the server has gone");
  assert.ok(existsSync(join(dir, "f.pid")), "whose number stays, as with QEMU's");
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
