/** TLS for NBD: our server with libnbd's and QEMU's clients, our client with QEMU's server and nbdkit. */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { skip } from "../support/skip.js";
import { have, OURS, Servers } from "./servers.js";

const servers = new Servers("tls");
const { path, run, start, stop } = servers;
const ready = have("openssl", "nbdinfo", "qemu-img", "qemu-io", "qemu-nbd", "nbdkit");

/** An authority in `ca/`, and a certificate of it in each directory, under the names that QEMU looks for. */
function certify(authority: string, directories: Readonly<Record<string, { role: "server" | "client"; name: string }>>): void {
  mkdirSync(path(authority), { recursive: true });
  const openssl = (...args: string[]): string => run("openssl", ...args);
  const ca = join(authority, "ca");
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  openssl("req", "-x509", ...key, "-keyout", `${ca}.key`, "-out", `${ca}.pem`, "-days", "2", "-subj", `/CN=${authority}`);
  for (const [directory, { role, name }] of Object.entries(directories)) {
    mkdirSync(path(directory), { recursive: true });
    const files = join(directory, role);
    openssl("req", "-new", ...key, "-keyout", `${files}-key.pem`, "-out", `${files}.csr`, "-subj", `/C=XX/O=Tests/CN=${name}`);
    writeFileSync(path(`${files}.ext`), `subjectAltName=DNS:${name},IP:127.0.0.1\nextendedKeyUsage=${role}Auth\n`);
    openssl(
      ...["x509", "-req", "-in", `${files}.csr`, "-CA", `${ca}.pem`, "-CAkey", `${ca}.key`, "-CAcreateserial"],
      ...["-out", `${files}-cert.pem`, "-days", "2", "-extfile", `${files}.ext`],
    );
    copyFileSync(path(`${ca}.pem`), path(join(directory, "ca-cert.pem")));
  }
}

let prepared = false;
function prepare(): boolean {
  if (!ready) return false;
  if (prepared) return true;
  certify("ca1", {
    server: { role: "server", name: "disk.example" },
    client: { role: "client", name: "laptop" },
    guest: { role: "client", name: "guest" },
  });
  certify("ca2", { stranger: { role: "client", name: "laptop" } });
  mkdirSync(path("psk"));
  writeFileSync(path("psk/keys.psk"), `fred:${"0123456789abcdef".repeat(4)}\n`);
  mkdirSync(path("psk2"));
  writeFileSync(path("psk2/keys.psk"), `fred:${"ff".repeat(32)}\n`);
  run("qemu-img", "create", "-q", "-f", "raw", "disk.raw", "4M");
  run("qemu-io", "-f", "raw", "-c", "write -q -P 7 1M 1M", "disk.raw");
  prepared = true;
  return true;
}

const x509 = (side: "client" | "server", directory: string): string =>
  `tls-creds-x509,id=t0,endpoint=${side},dir=${path(directory)}`;
const psk = (side: "client" | "server", directory: string): string =>
  `tls-creds-psk,id=t0,endpoint=${side},dir=${path(directory)}${side === "client" ? ",username=fred" : ""}`;
const anonymous = (side: "client" | "server"): string => `tls-creds-anon,id=t0,endpoint=${side}`;

/** Reads and writes through a client and says how it went. */
function use(
  program: string,
  socket: string,
  object: string,
  hostname = "disk.example",
): { status: number | null; output: string } {
  const image = `driver=nbd,path=${path(socket)},tls-creds=t0${object.startsWith("tls-creds-x509") ? `,tls-hostname=${hostname}` : ""}`;
  const commands = ["-c", "read -P 7 1M 1M", "-c", "write -P 9 3M 64k", "-c", "read -P 9 3M 64k", "-c", "flush"];
  return servers.try(program, ...commands, "--object", object, "--image-opts", image);
}

function works(outcome: { status: number | null; output: string }): void {
  assert.is(outcome.status, 0, outcome.output);
  assert.not.match(outcome.output, /failed/);
}
function refused(outcome: { status: number | null; output: string }, why: RegExp): void {
  assert.is(outcome.status, 1, outcome.output);
  assert.match(outcome.output, why);
}

for (const [side, server, client] of [
  ["our server, QEMU's client", `${OURS}/qemu-nbd`, "qemu-io"],
  ["QEMU's server, our client", "qemu-nbd", `${OURS}/qemu-io`],
] as const) {
  test(`${side}: certificates, keys, anonymous`, async () => {
    if (!prepare()) return skip("openssl, libnbd-bin, qemu-utils or nbdkit is not installed");
    const serve = (object: string, ...more: string[]): ReturnType<typeof start> =>
      start(
        "t.sock",
        server,
        "-t",
        "-e",
        "4",
        "-f",
        "raw",
        "-k",
        path("t.sock"),
        "--object",
        object,
        "--tls-creds",
        "t0",
        ...more,
        "disk.raw",
      );
    let running = await serve(x509("server", "server"));
    works(use(client, "t.sock", x509("client", "client")));
    refused(
      use(client, "t.sock", x509("client", "client"), "other.example"),
      /Certificate does not match the hostname other.example/,
    );
    refused(use(client, "t.sock", x509("client", "stranger")), /The certificate hasn't got a known issuer/);
    refused(
      servers.try(client, "-c", "read 0 1", "-f", "raw", servers.uri("t.sock")),
      /TLS negotiation required before option 7 \(go\)/,
    );
    await stop(running);

    const identity = "C=XX,,O=Tests,,CN=laptop";
    running = await serve(x509("server", "server"), "--object", `authz-simple,id=a0,identity=${identity}`, "--tls-authz", "a0");
    works(use(client, "t.sock", x509("client", "client")));
    refused(use(client, "t.sock", x509("client", "guest")), /./);
    await stop(running);

    running = await serve(psk("server", "psk"));
    works(use(client, "t.sock", psk("client", "psk")));
    refused(use(client, "t.sock", psk("client", "psk2")), /TLS handshake failed/);
    await stop(running);

    running = await serve(anonymous("server"));
    works(use(client, "t.sock", anonymous("client")));
    await stop(running);
  });
}

test("nbdinfo and qemu-nbd -L with our server; a list of who may", async () => {
  if (!prepare()) return skip("openssl, libnbd-bin, qemu-utils or nbdkit is not installed");
  const list =
    "authz-list,id=a0,policy=deny,rules.0.match=*CN=guest,rules.0.policy=deny,rules.0.format=glob," +
    "rules.1.match=C=X[WX],,O=Tests,,*,rules.1.policy=allow,rules.1.format=glob";
  const server = await start(
    "l.sock",
    `${OURS}/qemu-nbd`,
    ...["-t", "-e", "4", "-f", "raw", "-k", path("l.sock"), "-x", "disk", "--object", x509("server", "server")],
    ...["--object", list, "--tls-creds", "t0", "--tls-authz", "a0", "disk.raw"],
  );
  const uri = (directory: string): string =>
    `nbds+unix:///disk?socket=${path("l.sock")}&tls-certificates=${path(directory)}&tls-hostname=disk.example`;
  // libnbd's own URIs know no host name for Unix sockets: it checks against "localhost" unless told not to.
  const info = servers.try(
    "nbdinfo",
    "--size",
    `${uri("client").replace("&tls-hostname=disk.example", "")}&tls-verify-peer=false`,
  );
  works(info);
  assert.match(info.output, /4194304/);
  const guest = servers.try(
    "nbdinfo",
    "--size",
    `${uri("guest").replace("&tls-hostname=disk.example", "")}&tls-verify-peer=false`,
  );
  assert.is.not(guest.status, 0);
  for (const program of ["qemu-nbd", `${OURS}/qemu-nbd`]) {
    const listed = servers.try(
      program,
      ...[
        "-L",
        "-k",
        path("l.sock"),
        "--object",
        x509("client", "client"),
        "--tls-creds",
        "t0",
        "--tls-hostname",
        "disk.example",
      ],
    );
    works(listed);
    assert.match(listed.output, /export: 'disk'/);
  }
  await stop(server);
});

test("our client with nbdkit", async () => {
  if (!prepare()) return skip("openssl, libnbd-bin, qemu-utils or nbdkit is not installed");
  const server = await start(
    "k.sock",
    "nbdkit",
    ...["-f", "-U", path("k.sock"), "--tls=require", `--tls-certificates=${path("server")}`, "--tls-verify-peer"],
    ...["pattern", "4M"],
  );
  const image = `driver=nbd,path=${path("k.sock")},tls-creds=t0,tls-hostname=disk.example,read-only=on`;
  run(`${OURS}/qemu-io`, "-r", "-c", "read -q 0 4M", "--object", x509("client", "client"), "--image-opts", image);
  await stop(server);
});

test("qemu-storage-daemon: credentials on the command line and by QMP", async () => {
  if (!prepare()) return skip("openssl, libnbd-bin, qemu-utils or nbdkit is not installed");
  const daemon = await start(
    "d.sock",
    `${OURS}/qemu-storage-daemon`,
    ...["--object", x509("server", "server"), "--blockdev", `file,node-name=n0,filename=${path("disk.raw")}`],
    ...[
      "--nbd-server",
      `addr.type=unix,addr.path=${path("d.sock")},tls-creds=t0`,
      "--export",
      "nbd,id=e0,node-name=n0,name=,writable=on",
    ],
  );
  works(use("qemu-io", "d.sock", x509("client", "client")));
  await stop(daemon);
  const script = [
    { execute: "qmp_capabilities" },
    { execute: "object-add", arguments: { "qom-type": "tls-creds-x509", id: "c0", endpoint: "client", dir: path("client") } },
    { execute: "nbd-server-start", arguments: { addr: { type: "unix", data: { path: path("q.sock") } }, "tls-creds": "c0" } },
    { execute: "nbd-server-start", arguments: { addr: { type: "unix", data: { path: path("q.sock") } }, "tls-creds": "none" } },
    { execute: "object-add", arguments: { "qom-type": "tls-creds-x509", id: "s0", endpoint: "server", dir: path("nowhere") } },
    { execute: "quit" },
  ];
  const answers = (program: string): string[] => {
    const done = spawnSync(program, ["--chardev", "stdio,id=m", "--monitor", "m"], {
      input: script.map((step) => JSON.stringify(step)).join("\n"),
      encoding: "utf8",
      timeout: 30_000,
    });
    return done.stdout.split("\n").filter((line) => line.includes("error"));
  };
  assert.equal(answers(`${OURS}/qemu-storage-daemon`), answers("qemu-storage-daemon"));
});

// ---- what is said ahead of TLS --------------------------------------------------------------------------------------

function option(number: number, data = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(16);
  head.write("IHAVEOPT");
  head.writeUInt32BE(number, 8);
  head.writeUInt32BE(data.length, 12);
  return Buffer.concat([head, data]);
}

/** Sends bytes and collects what comes back until the server ends it. */
function talk(socket: string, ...messages: Buffer[]): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const heard: Buffer[] = [];
    const peer: Socket = connect(path(socket));
    peer.on("data", (chunk) => heard.push(chunk));
    peer.on("close", () => resolve(Buffer.concat(heard)));
    peer.on("error", () => {});
    peer.on("connect", () => peer.write(Buffer.concat(messages)));
    setTimeout(() => reject(new Error("the server does not end it")), 15_000).unref();
  });
}

test("nothing that was said ahead of TLS survives, and rubbish for TLS ends the connection only", async () => {
  if (!prepare()) return skip("openssl, libnbd-bin, qemu-utils or nbdkit is not installed");
  const server = await start(
    "i.sock",
    `${OURS}/qemu-nbd`,
    ...[
      "-t",
      "-e",
      "4",
      "-f",
      "raw",
      "-k",
      path("i.sock"),
      "--object",
      x509("server", "server"),
      "--tls-creds",
      "t0",
      "disk.raw",
    ],
  );
  const flags = Buffer.from([0, 0, 0, 3]);
  const injected = await talk("i.sock", flags, option(5), option(3));
  // The greeting, and no answer to the list.
  assert.is(injected.length, 18);
  const rubbish = await talk("i.sock", flags, option(5));
  assert.ok(rubbish.length >= 18);
  for (const size of [1, 100, 100_000]) {
    await new Promise<void>((resolve) => {
      const peer = connect(path("i.sock"));
      peer.on("error", () => {});
      peer.on("close", () => resolve());
      peer.write(Buffer.concat([flags, option(5)]));
      peer.once("data", () => peer.write(Buffer.alloc(size, 0x47), () => setTimeout(() => peer.destroy(), 50)));
    });
  }
  works(use("qemu-io", "i.sock", x509("client", "client")));
  await stop(server);
});

test.run();
