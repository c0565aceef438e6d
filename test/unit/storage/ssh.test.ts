/** The protocol ssh: files over SFTP, who the server is, who the user is, servers that misbehave. */
import { createHash, createHmac } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BlockError } from "../../../src/base/error.js";
import { read, truncate, write } from "../../../src/block/io.js";
import { createFile } from "../../../src/block/create.js";
import { openNode } from "../../../src/block/open.js";
import { runAsync } from "../../../src/block/op.js";
import { connectSocket } from "../../../src/nbd/node-socket.js";
import { nodeEnvironment } from "../../../src/platform/node-environment.js";
import { identityFiles } from "../../../src/storage/ssh/node-identities.js";
import { KnownKeys } from "../../../src/storage/ssh/node-known-hosts.js";
import type { HostKeyCheck } from "../../../src/storage/ssh/node-session.js";
import { sshStorage } from "../../../src/storage/ssh/node-ssh.js";
import type { Storage } from "../../../src/storage/storage.js";
import { storageSuite } from "../../conformance/storage-suite.js";
import { sshServer, testKey, type SshServerOptions, type SshTestServer } from "../../support/ssh-server.js";

const dir = mkdtempSync(join(tmpdir(), "blockcore-ssh-"));
process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
const path = join(dir, "disk.img");

/** A home of the test's own: no key, no agent and no known host of the user's takes part. */
const home = join(dir, "home");
mkdirSync(join(home, ".ssh"), { recursive: true });
process.env["HOME"] = home;
delete process.env["SSH_AUTH_SOCK"];

interface More {
  readOnly?: boolean;
  create?: boolean;
  check?: HostKeyCheck;
  onNoFlush?: () => void;
}

const storageOn = ({ port }: { port: number }, more: More = {}): Promise<Storage> =>
  sshStorage({
    name: "ssh://test/disk.img",
    server: { host: "127.0.0.1", port, user: "me", hostKeyCheck: more.check ?? { mode: "none" } },
    path,
    readOnly: more.readOnly ?? false,
    connect: () => connectSocket({ host: "127.0.0.1", port }),
    ...(more.create === undefined ? {} : { create: more.create }),
    ...(more.onNoFlush === undefined ? {} : { onNoFlush: more.onNoFlush }),
  });

async function withServer(options: SshServerOptions, work: (server: SshTestServer) => Promise<void>): Promise<void> {
  const server = await sshServer(options);
  try {
    await work(server);
  } finally {
    await server.close();
  }
}

const fails = (work: Promise<unknown>, pattern: RegExp): Promise<void> =>
  work.then(
    () => assert.unreachable("it works"),
    (error: BlockError) => assert.match(error.message, pattern),
  );

let running: SshTestServer;
const served =
  (options: SshServerOptions, readOnly = false) =>
  async (content: Uint8Array): Promise<Storage> => {
    running = await sshServer(options);
    writeFileSync(path, content);
    return await storageOn(running, { readOnly });
  };
const suiteOptions = { dispose: () => running.close(), readBack: () => readFileSync(path) };
storageSuite("ssh", ["async"], { ...suiteOptions, make: served({}), writable: true, growable: true });
storageSuite("ssh, short answers", ["async"], {
  ...suiteOptions,
  make: served({ shortReads: 9973 }),
  writable: true,
  growable: true,
});
storageSuite("ssh, only read", ["async"], { ...suiteOptions, make: served({}, true), writable: false, growable: true });

test("many requests are under way at a time, and no more than 64", async () => {
  writeFileSync(path, Buffer.alloc(8 << 20, 7));
  await withServer({}, async (server) => {
    const storage = await storageOn(server);
    const into = new Uint8Array(8 << 20);
    assert.is(await storage.async!.read(into, 0), into.length);
    assert.ok(into.every((byte) => byte === 7));
    assert.ok(server.mostUnderWay() > 16, `${server.mostUnderWay()} at a time`);
    assert.ok(server.mostUnderWay() <= 64, `${server.mostUnderWay()} at a time`);
    await storage.async!.close();
  });
});

test("a server without fsync is told of once", async () => {
  await withServer({}, async (server) => {
    let told = 0;
    const storage = await storageOn(server, { onNoFlush: () => told++ });
    for (let i = 0; i < 3; i++) await storage.async!.flush();
    assert.is(told, 1);
    await storage.async!.close();
  });
});

test("who the server is: fingerprints", async () => {
  const key = testKey();
  await withServer({ hostKeys: [key.private] }, async (server) => {
    const blob = Buffer.from(key.public.split(" ")[1]!, "base64");
    for (const type of ["md5", "sha1", "sha256"] as const) {
      const right = createHash(type).update(blob).digest("hex");
      const spaced = right.toUpperCase().replace(/..(?=.)/g, "$&:");
      for (const hash of [right, spaced]) await (await storageOn(server, { check: { mode: "hash", type, hash } })).async!.close();
      for (const hash of ["wrong", "", right.slice(2)]) {
        const refused = `remote host ssh-ed25519 key fingerprint '${type}:${right}' does not match host_key_check '${type}:${hash}'`;
        const error = await storageOn(server, { check: { mode: "hash", type, hash } }).catch((thrown: BlockError) => thrown);
        assert.is((error as BlockError).message, refused);
      }
    }
  });
});

test("who the server is: known_hosts", async () => {
  const ed = testKey();
  const rsa = testKey("rsa");
  const other = testKey();
  const otherType = testKey("ecdsa");
  const file = join(home, ".ssh", "known_hosts");
  const check: HostKeyCheck = { mode: "known_hosts" };
  rmSync(file, { force: true });
  await withServer({ hostKeys: [ed.private, rsa.private] }, async (server) => {
    const name = `[127.0.0.1]:${server.port}`;
    const open = (lines: readonly string[]): Promise<void> => {
      writeFileSync(file, lines.map((line) => `${line}\n`).join(""));
      return storageOn(server, { check }).then((storage) => storage.async!.close());
    };
    await fails(storageOn(server, { check }), /^no host key was found in known_hosts$/);
    await fails(open(["# nothing", "", "nonsense", `127.0.0.1 ${ed.public}`]), /^no host key was found in known_hosts$/);
    await open([`${name} ${ed.public}`]);
    // The server has two keys; it is asked for the one that is known.
    await open([`${name} ${rsa.public} with a comment`]);
    await open([`${name} ${other.public}`, `[127.0.0.?]:* ${ed.public}`]);
    const changed =
      /^host key \(ssh-ed25519 key with fingerprint SHA256:[\w+/]{43}\) does not match the one in known_hosts; this may be a possible attack$/;
    await fails(open([`${name} ${other.public}`]), changed);
    await fails(open([`${name} ${ed.public}`, `@revoked * ${ed.public}`]), changed);
    await fails(open([`${name} ${otherType.public}`]), /^host key for this server not found, another type exists$/);
    await fails(open([`@cert-authority * ${ed.public}`]), /^no host key was found in known_hosts$/);
    await fails(open([`*,!${name} ${ed.public}`]), /^no host key was found in known_hosts$/);
    const salt = Buffer.from("0123456789abcdef0123");
    const hashed = (text: string): string =>
      `|1|${salt.toString("base64")}|${createHmac("sha1", salt).update(text).digest("base64")}`;
    await open([`${hashed(name)} ${ed.public}`]);
    await fails(open([`${hashed("127.0.0.1")} ${ed.public}`]), /^no host key was found in known_hosts$/);
  });
  // On the usual port the name stands alone; a pattern takes no time, whatever it is.
  const [, base64] = ed.public.split(" ");
  assert.is(new KnownKeys(`Example.ORG ${ed.public}`, "example.org", 22).judge(Buffer.from(base64!, "base64")), "known");
  assert.is(new KnownKeys(`${"*a".repeat(2000)} ${ed.public}`, `${"a".repeat(2000)}b`, 22).judge(new Uint8Array(3)), "unknown");
  rmSync(file);
});

test("who the user is: keys in ~/.ssh, without a passphrase", async () => {
  const key = testKey();
  const file = (name: string): string => join(home, ".ssh", name);
  await withServer({ authorized: key.public }, async (server) => {
    const refused = /^failed to authenticate using publickey authentication and the identities held by your ssh-agent$/;
    await fails(storageOn(server), refused);
    writeFileSync(file("id_ed25519"), "no key");
    writeFileSync(file("id_ecdsa"), testKey("ecdsa").private);
    await fails(storageOn(server), refused);
    writeFileSync(file("id_ed25519"), key.private);
    await (await storageOn(server)).async!.close();
    rmSync(file("id_ed25519"));
    writeFileSync(join(dir, "my key"), key.private);
    writeFileSync(
      file("config"),
      `Host other\n IdentityFile ~/none\nhost 127.* !127.0.0.2\n\tidentityFile = "${join(dir, "my key")}"\n`,
    );
    await (await storageOn(server)).async!.close();
    rmSync(file("config"));
    writeFileSync(file("id_ed25519"), key.private);
    // An agent that is not there is passed over.
    process.env["SSH_AUTH_SOCK"] = join(dir, "no-agent");
    await (await storageOn(server)).async!.close();
    delete process.env["SSH_AUTH_SOCK"];
  });
  for (const name of ["id_ed25519", "id_ecdsa"]) rmSync(file(name));
});

test("~/.ssh/config: the identities that it names for a host", () => {
  const config = [
    "# IdentityFile ~/comment",
    "IdentityFile ~/all",
    "Host a b*",
    "  IdentityFile=%d/ab",
    "  IdentityFile none",
    "Match host a",
    "  IdentityFile ~/match",
    'HOST !c "*.org"',
    '  IDENTITYFILE "/with space/key"',
    "User me",
    "",
    "IdentityFile",
  ].join("\n");
  assert.equal(identityFiles(config, "bc"), [`${home}/all`, `${home}/ab`]);
  assert.equal(identityFiles(config, "x.org"), [`${home}/all`, "/with space/key"]);
  assert.equal(identityFiles(config, "c"), [`${home}/all`]);
  assert.equal(identityFiles("", "c"), []);
});

test("a file that is not there, one that may not be written", async () => {
  await withServer({}, async (server) => {
    rmSync(path);
    await fails(
      storageOn(server),
      /^failed to open remote file '.*': SFTP server: No such file \(libssh error code: 1, sftp error code: 2\)$/,
    );
    writeFileSync(path, "");
  });
});

test("a server that goes away, fails, or says nothing sensible", async () => {
  writeFileSync(path, Buffer.alloc(1 << 20, 1));
  const lost = /SSH session lost/;
  await withServer({ misbehave: (request, index) => (request === "READ" && index > 10 ? "drop" : null) }, async (server) => {
    const storage = await storageOn(server);
    const into = new Uint8Array(1 << 20);
    await fails(storage.async!.read(into, 0), lost);
    // It is not asked again, and closing is no trouble.
    await fails(storage.async!.read(into, 0), lost);
    await fails(storage.async!.write(into, 0), lost);
    await fails(storage.async!.flush(), lost);
    await storage.async!.close();
    await fails(storage.async!.size(), /closed/);
  });
  await withServer(
    { misbehave: (request) => (request === "WRITE" || request === "FSETSTAT" ? "fail" : null) },
    async (server) => {
      const storage = await storageOn(server);
      await fails(storage.async!.write(new Uint8Array(100_000), 0), /^Input\/output error$/);
      await fails(storage.async!.truncate(5), /^Failed to resize file: SFTP server: Failure/);
      await storage.async!.close();
    },
  );
  await withServer({ misbehave: (request) => (request === "CLOSE" ? "silent" : null) }, async (server) => {
    await (await storageOn(server)).async!.close();
  });
  const babbler = createServer((socket) => {
    socket.on("error", () => {});
    socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
  });
  await new Promise<void>((resolve) => babbler.listen(0, "127.0.0.1", resolve));
  await fails(storageOn(babbler.address() as AddressInfo), /^failed to establish SSH session: /);
  babbler.close();
});

test("as nodes: made, opened by URL and by options, named", async () => {
  await withServer({}, async ({ port }) => {
    const environment = nodeEnvironment({ warn: () => {} });
    const url = `ssh://me@127.0.0.1:${port}${path}?host_key_check=no`;
    const made = await runAsync(createFile(environment, url));
    await runAsync(truncate(made, 131_072, { preallocation: "off" }));
    await runAsync(write(made, Uint8Array.of(1, 2, 3), 50_000));
    await runAsync(made.unref());
    const options = {
      driver: "ssh",
      server: { host: "127.0.0.1", port: String(port) },
      user: "me",
      path,
      "host-key-check": { mode: "none" },
    };
    for (const [node, name] of [
      [await runAsync(openNode(environment, { filename: url, driver: "raw" })), url],
      [await runAsync(openNode(environment, { driver: "raw", options: { file: options } })), url.replace(/\?.*/, "")],
      [
        await runAsync(
          openNode(environment, { driver: "raw", options: { file: { ...options, host: "127.0.0.1", port, server: undefined } } }),
        ),
        url.replace(/\?.*/, ""),
      ],
    ] as const) {
      const into = new Uint8Array(3);
      await runAsync(read(node, into, 50_000));
      assert.equal([...into], [1, 2, 3]);
      assert.is(node.size, 131_072);
      assert.is(node.filename, name);
      await runAsync(node.unref());
    }
    const open = (given: Record<string, unknown>): Promise<unknown> =>
      runAsync(openNode(environment, { options: { driver: "ssh", ...given } }));
    await fails(open({ host: "h", port: 0.42, path }), /^Parameter 'port' expects a number$/);
    await fails(open({ port: 22, path }), /^port may not be used without host$/);
    await fails(open({ path }), /^Parameter 'server' is missing$/);
    await fails(open({ host: "h" }), /^Parameter 'path' is missing$/);
    await fails(open({ server: { host: "h" }, path }), /^Parameter 'server.port' is missing$/);
    await fails(open({ server: { host: "h", port: "ssh" }, path }), /^Use only numeric port value$/);
    await fails(open({ host: "h", path, "host-key-check": { mode: "hash" } }), /^Parameter 'host-key-check.type' is missing$/);
    await fails(open({ host: "h", path, host_key_check: "sha512:00" }), /^unknown host_key_check setting \(sha512:00\)$/);
    await fails(open({ host: "127.0.0.1", port: "0", path }), /^Failed to connect to '127.0.0.1:0': /);
    for (const [bad, message] of [
      ["ssh://", /missing hostname in URI/],
      ["ssh:///x", /missing hostname in URI/],
      ["ssh://h", /missing remote path in URI/],
      ["ssh://h/%zz", /not valid/],
      ["ssh://h/a%00b", /no zero bytes/],
    ] as const)
      await fails(runAsync(openNode(environment, { filename: bad })), message);
  });
});

test.run();
