// time-limit: 300 s
/** The protocol ssh beside QEMU's: the same answers from the same server, and a server of OpenSSH. */
import { execFile, spawn } from "node:child_process";
import { chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createHash } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { chooseSeed, random } from "../support/random.js";
import { skip } from "../support/skip.js";
import { sshServer, testKey } from "../support/ssh-server.js";
import { have, OURS } from "./servers.js";

const seed = chooseSeed();
const rng = random(seed);
const dir = mkdtempSync(join(tmpdir(), "blockcore-ssh-"));
process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
const path = (name: string): string => join(dir, name);

/** No key, agent or known host of the user's takes part. */
const home = path("home");
mkdirSync(join(home, ".ssh"), { recursive: true });

/** Runs a program while the server in this process serves it. */
function run(program: string, ...args: string[]): Promise<{ status: unknown; text: string }> {
  const { SSH_AUTH_SOCK: _agent, ...rest } = process.env;
  const env = { ...rest, HOME: home };
  return new Promise((resolve) =>
    execFile(program, args, { cwd: dir, env, timeout: 100_000 }, (error, stdout, stderr) =>
      resolve({ status: error === null ? 0 : error.code, text: stdout + stderr }),
    ),
  );
}

async function succeed(program: string, ...args: string[]): Promise<string> {
  const { status, text } = await run(program, ...args);
  assert.is(status, 0, `${program} ${args.join(" ")}: ${text}`);
  return text;
}

/** A raw disk: data, holes, data. */
function disk(name: string): void {
  const bytes = new Uint8Array(3 << 20);
  for (let at = 0; at < bytes.length; at += 65536)
    if (rng.int(2) === 0) for (let i = 0; i < 65536; i++) bytes[at + i] = rng.int(256);
  writeFileSync(path(name), bytes);
}

test("the same words as QEMU's", async () => {
  if (!have("qemu-img")) return skip("qemu-img is not installed");
  const key = testKey();
  const hash = createHash("sha256")
    .update(Buffer.from(key.public.split(" ")[1]!, "base64"))
    .digest("hex");
  disk("f");
  const server = await sshServer({ hostKeys: [key.private] });
  const url = (name: string, query = "no"): string => `ssh://me@127.0.0.1:${server.port}${path(name)}?host_key_check=${query}`;
  const options = `driver=ssh,host=127.0.0.1,port=${server.port},user=me,path=${path("f")}`;
  const commands = [
    ["info", url("f")],
    ["info", url("f", `sha256:${hash}`)],
    ["info", url("f", "sha256:00")],
    ["info", url("f", "md5:")],
    ["info", url("f", "perhaps")],
    ["info", url("none")],
    ["map", url("f")],
    ["info", "--image-opts", `${options},host-key-check.mode=none`],
    ["info", "--image-opts", `${options},host-key-check.mode=never`],
    ["info", "--image-opts", `${options},host-key-check.mode=hash,host-key-check.type=sha1`],
    ["create", "-f", "qcow2", url("c"), "10M"],
    ["info", url("c")],
    ["create", "-f", "raw", url("r"), "1M"],
    ["resize", "-f", "raw", url("r"), "2M"],
    ["create", "-f", "raw", url("none/r"), "1M"],
    ["create", "-f", "raw", "-o", "help", url("r")],
    ["info", "ssh://127.0.0.1:1/x?host_key_check=no"],
  ];
  try {
    for (const command of commands) {
      const theirs = await run("qemu-img", ...command);
      const ours = await run(join(OURS, "qemu-img"), ...command);
      // A new raw file is flushed by ours.
      if (command[2] === "raw") for (const seen of [ours, theirs]) seen.text = seen.text.replace(/^.*support fsync.*\n/gm, "");
      assert.equal(ours, theirs, command.join(" "));
    }
  } finally {
    await server.close();
  }
});

test("images over SSH: made by one, read by the other", async () => {
  if (!have("qemu-img")) return skip("qemu-img is not installed");
  disk("source");
  const server = await sshServer();
  const url = (name: string): string => `ssh://me@127.0.0.1:${server.port}${path(name)}?host_key_check=no`;
  const programs = ["qemu-img", join(OURS, "qemu-img")];
  try {
    for (const writer of programs) {
      await succeed(writer, "convert", "-O", "qcow2", path("source"), url("copy"));
      for (const reader of programs) {
        const text = await succeed(reader, "compare", url("copy"), path("source"));
        assert.match(text, /Images are identical/, `seed ${seed}`);
      }
    }
  } finally {
    await server.close();
  }
});

/** The ssh server program, where its package has put it. */
const SSHD = "/usr/sbin/sshd";

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test("a server of OpenSSH: keys, known_hosts, fsync", async () => {
  if (!existsSync(SSHD)) return skip("sshd is not installed");
  const root = process.getuid?.() === 0;
  if (root) mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
  const port = await freePort();
  const [host, user] = [testKey(), testKey()];
  writeFileSync(path("host_key"), host.private, { mode: 0o600 });
  writeFileSync(join(home, ".ssh", "id_ed25519"), user.private, { mode: 0o600 });
  writeFileSync(path("authorized"), `${user.public}\n`);
  for (const name of ["host_key", "authorized"]) if (root) chownSync(path(name), 0, 0);
  const settings = [
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${path("host_key")}`,
    `AuthorizedKeysFile ${path("authorized")}`,
    "StrictModes no",
    "UsePAM no",
    "PermitRootLogin yes",
    `PidFile ${path("sshd.pid")}`,
    "Subsystem sftp internal-sftp",
  ];
  writeFileSync(path("sshd_config"), `${settings.join("\n")}\n`);
  let said = "";
  const sshd = spawn(SSHD, ["-D", "-e", "-f", path("sshd_config")], { stdio: ["ignore", "ignore", "pipe"] });
  sshd.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  try {
    for (let tries = 0; !said.includes("Server listening"); tries++) {
      assert.ok(tries < 400 && sshd.exitCode === null, `sshd does not listen: ${said}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const img = join(OURS, "qemu-img");
    const url = (name: string): string => `ssh://127.0.0.1:${port}${path(name)}`;
    disk("source");
    const refused = await run(img, "info", url("source"));
    assert.match(refused.text, /no host key was found in known_hosts/);
    writeFileSync(join(home, ".ssh", "known_hosts"), `[127.0.0.1]:${port} ${host.public}\n`);
    // No warning: this server can fsync.
    assert.is(await succeed(img, "convert", "-O", "qcow2", path("source"), url("copy.qcow2")), "");
    assert.match(await succeed(img, "compare", url("copy.qcow2"), url("source")), /Images are identical/, `seed ${seed}`);
    await succeed(img, "check", path("copy.qcow2"));
    await succeed(img, "create", "-f", "raw", url("new"), "1M");
    assert.is(statSync(path("new")).size, 1 << 20);
    assert.is(statSync(path("new")).mode & 0o777, 0o644);
    await succeed(join(OURS, "qemu-io"), "-f", "raw", "-c", "write -P 5 4096 100000", "-c", "flush", url("new"));
    assert.ok(
      readFileSync(path("new"))
        .subarray(4096, 104_096)
        .every((byte) => byte === 5),
    );
  } finally {
    sshd.kill();
  }
});

test.run();
