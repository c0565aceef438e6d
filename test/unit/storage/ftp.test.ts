/** The protocols ftp, ftps and tftp: parts of files, seeking, errors, limits. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BlockError } from "../../../src/base/error.js";
import { read } from "../../../src/block/io.js";
import { openNode } from "../../../src/block/open.js";
import { done, runAsync } from "../../../src/block/op.js";
import { nodeEnvironment } from "../../../src/platform/node-environment.js";
import { ftpStorage } from "../../../src/storage/node-ftp.js";
import { tftpStorage } from "../../../src/storage/node-tftp.js";
import type { Storage } from "../../../src/storage/storage.js";
import { ftpServer, tftpServer } from "../../support/ftp-server.js";
import { chooseSeed, random } from "../../support/random.js";
import { skip } from "../../support/skip.js";

const seed = chooseSeed();
const rng = random(seed);
const content = (length: number): Uint8Array => Uint8Array.from({ length }, () => rng.int(256));

async function same(storage: Storage, bytes: Uint8Array, offset: number, length: number): Promise<void> {
  const into = new Uint8Array(length);
  const got = await storage.async!.read(into, offset);
  const expected = bytes.subarray(offset, offset + length);
  assert.is(got, expected.length, `seed ${seed}`);
  assert.ok(Buffer.compare(into.subarray(0, got), expected) === 0, `bytes at ${offset} (seed ${seed})`);
}

const fails = (work: Promise<unknown>, pattern: RegExp): Promise<void> =>
  work.then(
    () => assert.unreachable("it works"),
    (error: BlockError) => assert.match(error.message, pattern),
  );

test("ftp: any part in any order, on one connection", async () => {
  const bytes = content(3_000_001);
  const server = await ftpServer({ files: new Map([["disk images/a.raw", bytes]]), user: "me", password: "p@ss" });
  const storage = await ftpStorage(`ftp://me:p%40ss@127.0.0.1:${server.port}/disk%20images/a.raw`);
  assert.is(storage.name, `ftp://127.0.0.1:${server.port}/disk%20images/a.raw`, "no password in the name");
  assert.is(await storage.async!.size(), bytes.length);
  for (const [offset, length] of [
    [0, 512],
    [2_900_000, 200_000],
    [1_000_000, 1],
    [0, bytes.length],
  ] as const)
    await same(storage, bytes, offset, length);
  await Promise.all([5, 600_000, 1_200_000, 2_999_000].map((offset) => same(storage, bytes, offset, 1000)));
  assert.is(server.log.filter((line) => line.startsWith("USER")).length, 1);
  await storage.async!.close();
  await fails(storage.async!.read(new Uint8Array(1), 0), /closed/);
  await server.close();
});

test("ftp: no such file, a wrong password, a server that sends less, one that is not there", async () => {
  const server = await ftpServer({ files: new Map([["a", content(1000)]]), password: "right" });
  await fails(ftpStorage(`ftp://anonymous:right@127.0.0.1:${server.port}/b`), /Could not open .*no such file/);
  await fails(ftpStorage(`ftp://anonymous:wrong@127.0.0.1:${server.port}/a`), /Could not open .*530/);
  await fails(ftpStorage(`ftp://127.0.0.1:${server.port}/a%0D%0ADELE%20a`), /control characters/);
  assert.not.ok(server.log.some((line) => line.startsWith("DELE")));
  await server.close();
  const short = await ftpServer({ files: new Map([["a", content(100_000)]]), cutAt: 10 });
  const storage = await ftpStorage(`ftp://127.0.0.1:${short.port}/a`);
  await fails(storage.async!.read(new Uint8Array(1000), 0), /less than it promised/);
  await storage.async!.close();
  await short.close();
  await fails(ftpStorage(`ftp://127.0.0.1:${short.port}/a`, { timeout: 1000 }), /Could not open/);
});

test("ftps: certificates are checked unless told not to", async () => {
  const dir = mkdtempSync(join(tmpdir(), "blockcore-ftps-"));
  const made = spawnSync("openssl", [
    ...[
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-days",
      "2",
      "-subj",
      "/CN=ftp.example",
    ],
    ...["-keyout", join(dir, "key.pem"), "-out", join(dir, "cert.pem")],
  ]);
  if (made.status !== 0) {
    rmSync(dir, { recursive: true });
    return skip("openssl is not installed");
  }
  const tls = { key: readFileSync(join(dir, "key.pem")), cert: readFileSync(join(dir, "cert.pem")) };
  rmSync(dir, { recursive: true });
  const bytes = content(200_000);
  const server = await ftpServer({ files: new Map([["a", bytes]]), tls });
  const url = `ftps://127.0.0.1:${server.port}/a`;
  await fails(ftpStorage(url), /self-signed|certificate/);
  const storage = await ftpStorage(url, { verify: false });
  await same(storage, bytes, 100_000, 1000);
  await same(storage, bytes, 0, bytes.length);
  await storage.async!.close();
  await server.close();
});

for (const [name, settings] of [
  ["a server with options", {}],
  ["one without", { options: false }],
  ["packets that get lost", { loseEvery: 293 }],
] as const) {
  test(`tftp: ${name}`, async () => {
    // A whole number of packets of either size, and one byte more.
    for (const length of [0, 511, 512 * 1428, 300_001]) {
      const bytes = content(length);
      const server = await tftpServer({ files: new Map([["dir/a.img", bytes]]), ...settings });
      const storage = await tftpStorage(`tftp://127.0.0.1:${server.port}/dir/a.img`);
      assert.is(await storage.async!.size(), length);
      if (length > 1000) {
        await same(storage, bytes, 200_000, 1000);
        await same(storage, bytes, 10, 1000);
      }
      await same(storage, bytes, 0, length);
      await storage.async!.close();
      await server.close();
    }
  });
}

test("tftp: packet numbers go round", async () => {
  const bytes = content(16 * 66_000 + 5);
  const server = await tftpServer({ files: new Map([["a", bytes]]), blockSize: 16 });
  const storage = await tftpStorage(`tftp://127.0.0.1:${server.port}/a`);
  assert.is(await storage.async!.size(), bytes.length);
  await same(storage, bytes, bytes.length - 100_000, 100_000);
  await storage.async!.close();
  await server.close();
});

test("tftp: no such file, and nobody there", async () => {
  const server = await tftpServer({ files: new Map() });
  await fails(tftpStorage(`tftp://127.0.0.1:${server.port}/a`), /no such file/);
  await server.close();
  await fails(tftpStorage(`tftp://127.0.0.1:${server.port}/a`, { timeout: 300 }), /does not answer/);
  await fails(tftpStorage("tftp://127.0.0.1/"), /not a tftp URL/);
});

test("as nodes: by URL and by options, never written", async () => {
  const bytes = content(70_000);
  const server = await ftpServer({ files: new Map([["a.raw", bytes]]), user: "me", password: "secret" });
  const environment = nodeEnvironment({
    secrets: (id) => done(id === "s0" ? new TextEncoder().encode("secret") : null),
  });
  const url = `ftp://127.0.0.1:${server.port}/a.raw`;
  const options = { url, username: "me", "password-secret": "s0", readahead: 65536, timeout: 3 };
  const node = await runAsync(openNode(environment, { driver: "raw", options: { file: { driver: "ftp", ...options } } }));
  const into = new Uint8Array(1000);
  await runAsync(read(node, into, 60_000));
  assert.equal(into, bytes.slice(60_000, 61_000));
  await runAsync(node.unref());
  await fails(runAsync(openNode(environment, { driver: "ftp", options, flags: { write: true } })), /does not support writes/);
  await fails(runAsync(openNode(environment, { filename: "ftp://", driver: "tftp" })), /tftp/);
  await server.close();
  const other = await tftpServer({ files: new Map([["b", bytes]]) });
  const plain = await runAsync(openNode(environment, { filename: `tftp://127.0.0.1:${other.port}/b` }));
  await runAsync(read(plain, into, 0));
  assert.equal(into, bytes.slice(0, 1000));
  await runAsync(plain.unref());
  await other.close();
});

test.run();
