/** The protocols http and https as nodes: curl's options; drivers that can only say why not. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readBytes } from "../../../src/block/io.js";
import { runAsync } from "../../../src/block/op.js";
import { nodeEnvironment } from "../../../src/platform/node-environment.js";
import type { JsonObject } from "../../../src/qapi/json.js";
import { BlockCore } from "../../../src/qmp/block-core.js";
import { startServer } from "../../support/http-server.js";
import { refused } from "../../support/refused.js";

const content = Uint8Array.from({ length: 100_000 }, (_, i) => (i * 7) & 255);

async function withCore(work: (core: BlockCore, add: (options: JsonObject) => Promise<unknown>) => Promise<void>): Promise<void> {
  const core = new BlockCore({ environment: nodeEnvironment() });
  try {
    await work(core, (options) => core.execute("blockdev-add", { "node-name": "n", ...options }));
  } finally {
    await core.close();
  }
}
test("a disk over HTTP: range reads below raw, cookies and passwords sent, called by its URL", async () => {
  const server = await startServer(content);
  await withCore(async (core, add) => {
    await core.execute("object-add", { "qom-type": "secret", id: "p", data: "word" });
    const driver = "http";
    await add({
      driver: "raw",
      "read-only": true,
      file: { driver, url: server.url, readahead: 4096, timeout: 3, cookie: "a=b", username: "me", "password-secret": "p" },
    });
    const node = core.node("n");
    assert.equal(await runAsync(readBytes(node, 70_000, 500)), content.slice(70_000, 70_500));
    const { headers } = server.requests.at(-1)!;
    assert.is(headers.cookie, "a=b");
    assert.is(headers.authorization, `Basic ${btoa("me:word")}`);
    assert.is(node.filename.startsWith("json:") || node.filename === server.url, true);
    assert.is(node.file.filename, server.url);
    assert.ok(node.file.readOnly);
  });
  await server.close();
});

test("auto-read-only gives up write access; without it writing is refused", async () => {
  const server = await startServer(content);
  await withCore(async (core, add) => {
    const file = { driver: "http", url: server.url };
    assert.is((await refused(add(file))).message, "curl driver does not support writes");
    await add({ ...file, "auto-read-only": true });
    assert.ok(core.node("n").readOnly);
  });
  await server.close();
});

test("options that make no sense, in QEMU's words", async () => {
  await withCore(async (core, add) => {
    const url = "http://127.0.0.1:9/x";
    const base = { "read-only": true, driver: "http", url };
    for (const [more, message] of [
      [{ url: "https://x/" }, "http curl driver cannot handle the URL 'https://x/' (does not start with 'http://')"],
      [{ readahead: 1000 }, "HTTP_READAHEAD size 1000 is not a multiple of 512"],
      [{ timeout: 100_000 }, "timeout parameter is too large or negative"],
      [{ cookie: "a", "cookie-secret": "b" }, "curl driver cannot handle both cookie and cookie secret"],
      [{ "cookie-secret": "b" }, "No secret with id 'b'"],
      [{ "proxy-username": "x" }, "'proxy-username' is not supported: proxies are those of the platform"],
    ] as [JsonObject, string][])
      assert.is((await refused(add({ ...base, ...more }))).message, message);
    const off = { "read-only": true, driver: "https", url: "https://127.0.0.1:9/x", sslverify: false };
    assert.match((await refused(add(off))).message, /^sslverify=off is not supported/);
    assert.equal(await core.execute("query-named-block-nodes"), []);
  });
});

test("archipelago, host_floppy and blkreplay are understood and refused", async () => {
  await withCore(async (core, add) => {
    const volume = { driver: "archipelago", volume: "v", mport: 1001, vport: 501, segment: "archipelago" };
    assert.match((await refused(add(volume))).message, /^Archipelago volume 'v' cannot be opened/);
    assert.is((await refused(add({ driver: "archipelago" }))).message, "Parameter 'volume' is missing");
    assert.match((await refused(add({ driver: "host_floppy", filename: "/dev/fd0" }))).message, /use 'host_device'/);
    assert.match(
      (await refused(add({ driver: "blkreplay", image: { driver: "null-co", size: 512 } }))).message,
      /^Driver 'blkreplay' is not supported/,
    );
    assert.equal(await core.execute("query-named-block-nodes"), []);
  });
});

test("null-aio, host_device and host_cdrom", async () => {
  await withCore(async (core, add) => {
    await add({ driver: "null-aio", size: 1024, "read-zeroes": true });
    assert.equal(await runAsync(readBytes(core.node("n"), 0, 4)), new Uint8Array(4));
    for (const driver of ["host_device", "host_cdrom"])
      assert.is(
        (await refused(add({ "node-name": "d", driver, filename: "package.json" }))).message,
        `'${driver}' driver requires 'package.json' to be either a character or block device`,
      );
  });
});

test.run();
