import { test } from "uvu";
import * as assert from "uvu/assert";
import { httpStorage, type HttpStorageOptions } from "../../../src/storage/http.js";
import { parseContentRange, parseRetryAfter } from "../../../src/storage/http-headers.js";
import { isPrivateHost } from "../../../src/storage/http-redirect.js";
import type { Storage } from "../../../src/storage/storage.js";
import { rejects, storageSuite } from "../../conformance/storage-suite.js";
import { startServer, type ServerBehaviour, type TestServer } from "../../support/http-server.js";
import { chooseSeed, random } from "../../support/random.js";

let running: TestServer;
const served =
  (behaviour: Partial<ServerBehaviour>, options: HttpStorageOptions = {}) =>
  async (content: Uint8Array): Promise<Storage> => {
    running = await startServer(content, behaviour);
    return httpStorage(running.url, { retryDelay: 1, ...options });
  };
const suiteOptions = { dispose: () => running.close(), writable: false, growable: false };

storageSuite("http", ["async"], { ...suiteOptions, make: served({}) });
storageSuite("http, tiny cache and requests", ["async"], {
  ...suiteOptions,
  make: served({}, { blockSize: 4096, cacheSize: 16384, maxRequest: 8192, readAhead: 8192, parallel: 2 }),
});
storageSuite("http, server without ranges", ["async"], { ...suiteOptions, make: served({ ignoreRange: true, chunked: true }) });
storageSuite("http, no validators, partial answers", ["async"], {
  ...suiteOptions,
  make: served({ etag: null, capRange: 10007 }),
});

const content = Uint8Array.from({ length: 1000000 }, (_, i) => (i * 31 + (i >> 8)) & 255);

async function withServer(behaviour: Partial<ServerBehaviour>, work: (server: TestServer) => Promise<void>): Promise<void> {
  const server = await startServer(content, behaviour);
  try {
    await work(server);
  } finally {
    await server.close();
  }
}
const quick: HttpStorageOptions = { retryDelay: 1, maxRetryDelay: 20, stallTimeout: 100, readAhead: 0 };

async function readBack(storage: Storage, offset: number, length: number): Promise<void> {
  const into = new Uint8Array(length);
  assert.is(await storage.async!.read(into, offset), length);
  assert.ok(Buffer.compare(into, content.subarray(offset, offset + length)) === 0, `bytes at ${offset}`);
}

test("one ranged GET opens, and serves the first block", () =>
  withServer({}, async (server) => {
    const storage = await httpStorage(server.url, quick);
    await readBack(storage, 0, 65536);
    assert.equal(server.log, ["GET /image.raw bytes=0-65535"]);
    await readBack(storage, 65530, 10);
    assert.is(server.requests[1]!.headers["if-range"], '"v1"');
    assert.match(server.requests[1]!.headers["accept-encoding"]!, /^identity/);
    assert.is(storage.statistics!["requests"], 2);
    assert.is(storage.statistics!["bytes"], 131072);
    await storage.async!.close();
  }));

test("what the server refuses", () =>
  withServer({}, async (server) => {
    for (const [status, code] of [
      [404, "ERR_NOT_FOUND"],
      [410, "ERR_NOT_FOUND"],
      [401, "ERR_PERMISSION"],
      [403, "ERR_PERMISSION"],
      [400, "ERR_IO"],
    ] as const) {
      Object.assign(server.behaviour, { failures: 1, failWith: status });
      const error = await rejects(httpStorage(server.url, quick), code);
      assert.match(error.message, `The requested URL returned error: ${status}`);
    }
    assert.is(server.log.length, 5, "not retried");
  }));

test("nobody there", async () => {
  const server = await startServer(content);
  await server.close();
  const error = await rejects(httpStorage(server.url, { ...quick, retries: 1 }), "ERR_IO");
  assert.is(error.errno, "ECONNREFUSED");
});

test("not a URL for us", async () => {
  for (const url of ["file:///etc/passwd", "data:,x", "nonsense", "ftp://host/x"])
    await rejects(httpStorage(url), "ERR_INVALID_ARGUMENT");
});

test("passing failures are retried, a limited number of times", () =>
  withServer({}, async (server) => {
    server.behaviour.failures = 3;
    const storage = await httpStorage(server.url, quick);
    assert.is(storage.statistics!["retries"], 3);
    Object.assign(server.behaviour, { failures: 2, failWith: 429, retryAfter: "0" });
    await readBack(storage, 500000, 1000);
    server.behaviour.failures = 1000;
    const before = server.log.length;
    await rejects(storage.async!.read(new Uint8Array(10), 700000), "ERR_IO");
    assert.is(server.log.length - before, 5);
    server.behaviour.failures = 0;
    await readBack(storage, 700000, 10);
  }));

test("Retry-After is respected, and bounded", () =>
  withServer({ failures: 1, retryAfter: "3600" }, async (server) => {
    const started = performance.now();
    await httpStorage(server.url, { ...quick, maxRetryDelay: 60 });
    const took = performance.now() - started;
    assert.ok(took >= 55 && took < 3000, `${took} ms`);
  }));

test("a cut answer is continued where it broke", () =>
  withServer({}, async (server) => {
    const storage = await httpStorage(server.url, quick);
    Object.assign(server.behaviour, { cuts: 2, cutAfter: 5000 });
    await readBack(storage, 100000, 600000);
    assert.ok(server.log.length >= 4);
    assert.ok(
      server.log.some((line) => line.startsWith("GET /image.raw bytes=") && !line.includes("bytes=100000-")),
      server.log.join("\n"),
    );
  }));

test("a stalled answer ends in time", () =>
  withServer({}, async (server) => {
    const storage = await httpStorage(server.url, quick);
    server.behaviour.stalls = 1;
    await readBack(storage, 200000, 1000);
    server.behaviour.stalls = 1000;
    await rejects(storage.async!.read(new Uint8Array(10), 800000), "ERR_TIMEOUT");
  }));

test("a changed object is ERR_CHANGED, however it shows", () =>
  withServer({}, async (server) => {
    const read = async (change: Partial<ServerBehaviour>, before: Partial<ServerBehaviour> = {}): Promise<void> => {
      Object.assign(server.behaviour, { content, etag: '"v1"', lastModified: null, ignoreRange: false, ...before });
      const storage = await httpStorage(server.url, quick);
      Object.assign(server.behaviour, change);
      await rejects(storage.async!.read(new Uint8Array(10), 500000), "ERR_CHANGED");
      await rejects(storage.async!.read(new Uint8Array(600000), 300000), "ERR_CHANGED");
    };
    await read({ etag: '"v2"' });
    await read({ etag: 'W/"v2"' }, { etag: 'W/"v1"' });
    await read({ lastModified: "Tue, 02 Jan 2024 00:00:00 GMT" }, { etag: null, lastModified: "Mon, 01 Jan 2024 00:00:00 GMT" });
    await read({ content: content.subarray(0, 900000) }, { etag: null });
    await read({ content: content.subarray(0, 1000) }, { etag: null });
    await read({ ignoreRange: true, content: content.subarray(0, 999999) }, { etag: null });
  }));

test("lying and unusable answers", () =>
  withServer({}, async (server) => {
    const fresh = (change: Partial<ServerBehaviour>): void => {
      Object.assign(server.behaviour, {
        contentRange: undefined,
        contentEncoding: null,
        ignoreRange: false,
        surplus: 0,
        chunked: false,
        ...change,
      });
    };
    fresh({ contentRange: () => "bytes 5-65535/1000000" });
    await rejects(httpStorage(server.url, quick), "ERR_IO");
    fresh({ contentRange: () => null });
    await rejects(httpStorage(server.url, quick), "ERR_IO");
    fresh({ contentRange: () => "bytes 0-65535/99999999999999999999" });
    await rejects(httpStorage(server.url, quick), "ERR_IO");
    fresh({ contentEncoding: "gzip" });
    await rejects(httpStorage(server.url, quick), "ERR_UNSUPPORTED", "ERR_IO");
    fresh({ ignoreRange: true });
    const error = await rejects(httpStorage(server.url, { ...quick, maxWholeSize: 999999 }), "ERR_UNSUPPORTED");
    assert.match(error.message, "Server does not support 'range' (byte ranges).");
    fresh({ ignoreRange: true, chunked: true });
    await rejects(httpStorage(server.url, { ...quick, maxWholeSize: 999999 }), "ERR_UNSUPPORTED");
    fresh({});
    const storage = await httpStorage(server.url, quick);
    fresh({ contentRange: (honest) => honest.replace(/bytes \d/, "bytes 9") });
    await rejects(storage.async!.read(new Uint8Array(10), 100000), "ERR_IO");
    fresh({ surplus: 10 });
    await rejects(storage.async!.read(new Uint8Array(10), 100000), "ERR_IO");
    fresh({ ignoreRange: true });
    server.behaviour.etag = null;
    await rejects(storage.async!.read(new Uint8Array(10), 100000), "ERR_CHANGED", "ERR_UNSUPPORTED");
  }));

test("a total of '*' asks HEAD", () =>
  withServer({ contentRange: (honest) => honest.replace(/\d+$/, "*") }, async (server) => {
    const storage = await httpStorage(server.url, quick);
    assert.is(await storage.async!.size(), 1000000);
    assert.is(server.log[1], "HEAD /image.raw -");
    server.behaviour.refuseHead = true;
    await rejects(httpStorage(server.url, quick), "ERR_PERMISSION");
  }));

test("abort and close end what is under way", () =>
  withServer({}, async (server) => {
    const controller = new AbortController();
    const storage = await httpStorage(server.url, { ...quick, signal: controller.signal, stallTimeout: 10000 });
    server.behaviour.delay = 5000;
    const read = storage.async!.read(new Uint8Array(10), 300000);
    setTimeout(() => controller.abort(new Error("enough")), 20);
    const error = await rejects(read, "ERR_ABORTED");
    assert.is((error.cause as Error).message, "enough");
    await rejects(storage.async!.read(new Uint8Array(10), 400000), "ERR_ABORTED");
    await rejects(httpStorage(server.url, { signal: controller.signal }), "ERR_ABORTED");

    server.behaviour.delay = 0;
    const other = await httpStorage(server.url, { ...quick, stallTimeout: 10000 });
    server.behaviour.delay = 5000;
    const late = other.async!.read(new Uint8Array(10), 300000);
    setTimeout(() => void other.async!.close(), 20);
    await rejects(late, "ERR_CLOSED");
  }));

test("redirects: followed, remembered, renewed, and not everywhere", async () => {
  const target = await startServer(content);
  const server = await startServer(content, { redirect: () => `${target.url}?sig=1` });
  try {
    const storage = await httpStorage(server.url, { ...quick, headers: { Authorization: "secret", "X-Other": "kept" } });
    await readBack(storage, 100000, 10);
    assert.is(server.log.length, 1, "the target is remembered");
    assert.is(target.requests[0]!.headers.authorization, undefined, "secrets stay with the first origin");
    assert.is(target.requests[0]!.headers["x-other"], "kept");
    target.behaviour.forbid = (request) => request.url!.endsWith("?sig=1");
    server.behaviour.redirect = () => `${target.url}?sig=2`;
    await readBack(storage, 200000, 10);
    assert.is(server.log.length, 2, "an expired target is asked for anew");
    target.behaviour.forbid = () => true;
    await rejects(storage.async!.read(new Uint8Array(10), 300000), "ERR_PERMISSION");

    await rejects(httpStorage(server.url, { ...quick, redirects: "error" }), "ERR_DENIED");
    await rejects(httpStorage(server.url, { ...quick, redirects: "same-origin" }), "ERR_DENIED");
    await rejects(httpStorage(server.url, { ...quick, redirects: (_from, to) => to.port === "1" }), "ERR_DENIED");
    for (const to of ["file:///etc/passwd", "data:,x", "ftp://127.0.0.1/x"]) {
      server.behaviour.redirect = () => to;
      await rejects(httpStorage(server.url, quick), "ERR_DENIED");
    }
    server.behaviour.redirect = () => "/image.raw";
    await rejects(httpStorage(server.url, quick), "ERR_IO");
  } finally {
    await server.close();
    await target.close();
  }
});

test("a public server can not send us into the private network", async () => {
  const asked: string[] = [];
  const fetch =
    (to: string) =>
    async (url: string): Promise<Response> => {
      asked.push(url);
      return new Response(null, { status: 302, headers: { Location: to } });
    };
  for (const to of [
    "http://169.254.169.254/latest",
    "http://localhost/",
    "http://2130706433/",
    "http://[::1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://192.168.1.1/",
  ]) {
    asked.length = 0;
    await rejects(httpStorage("http://images.example.org/a.img", { fetch: fetch(to) }), "ERR_DENIED");
    assert.is(asked.length, 1);
  }
  await rejects(
    httpStorage("https://images.example.org/a.img", { fetch: fetch("http://images.example.org/a.img") }),
    "ERR_DENIED",
  );
  assert.not(isPrivateHost("8.8.8.8"));
  assert.not(isPrivateHost("172.32.0.1"));
  assert.not(isPrivateHost("[2001:db8::1]"));
  assert.ok(isPrivateHost("localhost."));
});

test("user name and password become a header and leave the name", () =>
  withServer({}, async (server) => {
    const storage = await httpStorage(server.url.replace("http://", "http://m%C3%BCller:pa%20ss@"), quick);
    assert.is(storage.name, server.url);
    assert.is(server.requests[0]!.headers.authorization, `Basic ${Buffer.from("müller:pa ss").toString("base64")}`);
  }));

test("random reads through a flaky server", () =>
  withServer({}, async (server) => {
    const { seed, int, chance } = random(chooseSeed());
    const storage = await httpStorage(server.url, { ...quick, readAhead: 1 << 20, cacheSize: 300000, retries: 20 });
    try {
      for (let round = 0; round < 40; round++) {
        if (chance(0.3)) server.behaviour.failures += int(2);
        if (chance(0.3)) Object.assign(server.behaviour, { cuts: int(3), cutAfter: int(70000) });
        const jobs = Array.from({ length: 1 + int(4) }, () => {
          const offset = int(1000000);
          return readBack(storage, offset, Math.min(1000000 - offset, chance(0.1) ? int(900000) : int(9000)));
        });
        await Promise.all(jobs);
      }
    } catch (error) {
      (error as Error).message += ` (SEED=${seed})`;
      throw error;
    }
  }));

test("header fields", () => {
  assert.equal(parseContentRange("bytes 0-9/10"), { range: { first: 0, last: 9 }, total: 10 });
  assert.equal(parseContentRange("bytes */10"), { range: null, total: 10 });
  assert.equal(parseContentRange("bytes 5-9/*"), { range: { first: 5, last: 9 }, total: null });
  for (const bad of ["", "bytes 9-5/10", "bytes 0-10/10", "bytes=0-9/10", "items 0-9/10", "bytes 0-/10", "bytes 0-9/1e3"])
    assert.is(parseContentRange(bad), undefined, bad);
  assert.is(parseRetryAfter("5", 0), 5000);
  assert.is(parseRetryAfter("Thu, 01 Jan 1970 00:00:07 GMT", 2000), 5000);
  assert.is(parseRetryAfter("soon", 0), null);
});

test.run();
