/** Server and client against each other over streams in memory, and the server against those who break the rules. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../src/base/error.js";
import { decodeText, encodeText, viewOf, writeU64BE } from "../../../src/base/bytes.js";
import { Backend } from "../../../src/block/backend.js";
import { DirtyBitmap } from "../../../src/block/dirty-bitmap.js";
import { write } from "../../../src/block/io.js";
import { storageNode } from "../../../src/block/storage-node.js";
import { qcow2 } from "../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../src/formats/raw/raw.js";
import { NbdClient } from "../../../src/nbd/client.js";
import { listExports } from "../../../src/nbd/handshake-client.js";
import { nbdStorage } from "../../../src/nbd/client-storage.js";
import { Command, ExportFlag, REQUEST_MAGIC } from "../../../src/nbd/constants.js";
import { ByteReader, type Duplex, webDuplex } from "../../../src/nbd/duplex.js";
import { messageDuplex } from "../../../src/nbd/message-duplex.js";
import { NbdServer, type NbdServerOptions } from "../../../src/nbd/server.js";
import { formatNbdUri, parseNbdAddress } from "../../../src/nbd/uri.js";
import { pipe, type PipeEnd } from "../../support/pipe.js";
import { chooseSeed, random } from "../../support/random.js";
import { refusal } from "../../support/refused.js";
import { makeWorld, type World } from "../../support/world.js";

const SIZE = 1024 * 1024;

interface Served {
  world: World;
  server: NbdServer;
  connect(): PipeEnd;
  /** Ends the last connection as a network does. */
  cut(): void;
  close(): Promise<void>;
}

async function serve(options: NbdServerOptions = {}, writable = true): Promise<Served> {
  const world = makeWorld({ mode: "async", drivers: [raw, qcow2], seed: 5 });
  await world.create("qcow2", "disk", SIZE, {});
  const node = await world.open("qcow2", "disk", { write: true, unmap: true });
  await world.run(write(node, new Uint8Array(100_000).fill(7), 65536));
  const bitmap = new DirtyBitmap(SIZE, 65536);
  bitmap.set(131072, 65536);
  const backend = new Backend("disk", node);
  const server = new NbdServer(options);
  server.add({
    name: "disk",
    description: "a disk",
    backend,
    writable,
    bitmaps: new Map([["b0", bitmap]]),
    allocationDepth: true,
    preferredBlock: 4096,
  });
  let last: Duplex | null = null;
  return {
    world,
    server,
    connect() {
      const [near, far] = pipe();
      last = webDuplex(far);
      void server.accept(last);
      return near;
    },
    cut: () => last?.close(),
    async close() {
      await server.close();
      await world.run(backend.close());
      await world.close(node);
    },
  };
}

test("a server of the old style has one export without a name, and no options", async () => {
  const hello = new Uint8Array(152);
  hello.set(encodeText("NBDMAGIC"));
  hello.set([0, 0, 0x42, 2, 0x81, 0x86, 0x12, 0x53], 8);
  writeU64BE(viewOf(hello), 16, SIZE);
  const connect = (): PipeEnd => {
    const [near, far] = pipe();
    void webDuplex(far)
      .write([hello])
      .catch(() => {});
    return near;
  };
  const client = await NbdClient.connect(webDuplex(connect()));
  assert.is(client.info.size, SIZE);
  assert.is(client.info.flags, 0);
  assert.is(client.canBlockStatus, false);
  await client.close();
  for (const [work, message] of [
    [NbdClient.connect(webDuplex(connect()), { exportName: "disk" }), "non-empty export names"],
    [listExports(webDuplex(connect())), "export lists"],
  ] as const) {
    try {
      await work;
      assert.unreachable();
    } catch (error) {
      assert.match((error as Error).message, message);
    }
  }
});

test("a server of the new style without options that have replies: an export by its name", async () => {
  for (const flags of [0, 2]) {
    const hello = new Uint8Array(18);
    hello.set(encodeText("NBDMAGICIHAVEOPT"));
    viewOf(hello).setUint16(16, flags);
    const [near, far] = pipe();
    const server = webDuplex(far);
    const reader = new ByteReader(server);
    void server.write([hello]);
    const joining = NbdClient.connect(webDuplex(near), { exportName: "disk" });
    assert.is(viewOf(await reader.read(4)).getUint32(0), flags);
    const option = (await reader.read(20)).slice();
    assert.is(viewOf(option).getUint32(8), 1);
    assert.is(decodeText(option.subarray(16)), "disk");
    const answer = new Uint8Array(flags === 2 ? 10 : 134);
    writeU64BE(viewOf(answer), 0, SIZE);
    viewOf(answer).setUint16(8, ExportFlag.hasFlags | ExportFlag.readOnly);
    void server.write([answer]);
    const client = await joining;
    assert.is(client.info.size, SIZE);
    assert.ok(client.readOnly);
    await client.close();
  }
  const [near, far] = pipe();
  const cut = webDuplex(far);
  const joining = NbdClient.connect(webDuplex(near));
  void cut.write([encodeText("NBDMAGIC")]).then(() => cut.close());
  await joining.then(
    () => assert.unreachable(),
    (error: BlockError) => assert.match(error.message, /Failed to read initial magic: Unexpected end-of-file/),
  );
});

test("what a client needs: list, info, read, write, zeros, trim, flush, block status", async () => {
  const served = await serve();
  const [listed] = await listExports(webDuplex(served.connect()));
  assert.is(listed!.name, "disk");
  assert.is(listed!.description, "a disk");
  assert.is(listed!.size, SIZE);
  assert.equal(listed!.contexts, ["base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:b0"]);
  const client = await NbdClient.connect(webDuplex(served.connect()), {
    exportName: "disk",
    contexts: ["base:allocation", "qemu:dirty-bitmap:b0", "qemu:allocation-depth"],
  });
  assert.ok(client.has(ExportFlag.multiConn));
  const bytes = new Uint8Array(200_000);
  await client.read(bytes, 0);
  assert.is(bytes[65535], 0);
  assert.is(bytes[65536], 7);
  assert.is(bytes[165535], 7);
  assert.is(bytes[165536], 0);
  await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map((n) => client.write(new Uint8Array(5000).fill(n), n * 100_000 + 13)));
  for (const n of [1, 8]) {
    const back = new Uint8Array(5000);
    await client.read(back, n * 100_000 + 13);
    assert.ok(back.every((byte) => byte === n));
  }
  await client.writeZeroes(65536, 65536, { mayUnmap: true });
  await client.trim(131072, 65536);
  await client.flush();
  const allocation = await client.blockStatus(0, SIZE, "base:allocation");
  assert.equal(allocation[0], { length: 196608, flags: 3 });
  const dirty = await client.blockStatus(0, SIZE, "qemu:dirty-bitmap:b0");
  assert.equal(dirty, [
    { length: 131072, flags: 0 },
    { length: 65536, flags: 1 },
    { length: SIZE - 196608, flags: 0 },
  ]);
  const depth = await client.blockStatus(65536, 1, "qemu:allocation-depth");
  assert.is(depth[0]!.flags, 1);
  await client.close();
  await served.close();
});

test("an export that is not there, a read-only one, and requests outside", async () => {
  const served = await serve({}, false);
  await NbdClient.connect(webDuplex(served.connect()), { exportName: "other" }).then(
    () => assert.unreachable(),
    (error: BlockError) => assert.match(error.message, /not available/),
  );
  const client = await NbdClient.connect(webDuplex(served.connect()), { exportName: "disk" });
  assert.ok(client.readOnly);
  for (const [work, errno] of [
    [() => client.write(new Uint8Array(512), 0), "EPERM"],
    [() => client.read(new Uint8Array(512), SIZE - 100), "EINVAL"],
  ] as const) {
    try {
      await work();
      assert.unreachable();
    } catch (error) {
      assert.is((error as BlockError).errno, errno);
    }
  }
  const fine = new Uint8Array(4);
  await client.read(fine, 65536);
  assert.equal([...fine], [7, 7, 7, 7]);
  await client.close();
  await served.close();
});

test("an export as a storage: an image format on top of it, connections that come back", async () => {
  const served = await serve();
  let connections = 0;
  const storage = await nbdStorage({
    name: "nbd://test/disk",
    readOnly: false,
    reconnectDelay: 5000,
    connect: () => {
      connections++;
      return NbdClient.connect(webDuplex(served.connect()), { exportName: "disk" });
    },
  });
  const node = await served.world.run(storageNode(served.world.environment, storage));
  await served.world.run(write(node, new Uint8Array(1000).fill(9), 500_000));
  served.cut();
  const back = new Uint8Array(1000);
  await storage.async!.read(back, 500_000);
  assert.ok(back.every((byte) => byte === 9));
  assert.is(connections, 2);
  const extents = await storage.async!.extents!(0, SIZE);
  assert.equal(extents[0], { offset: 0, length: 65536, data: false, zero: true });
  await served.world.close(node);
  await served.close();
});

test("a server that is not there yet is tried for as long as was said, and no attempt is given up before", async () => {
  const served = await serve();
  let [attempts, last] = [0, 0];
  const options = { name: "nbd://test/disk", readOnly: true, openTimeout: 250 };
  const began = performance.now();
  const absent = () => {
    attempts++;
    last = performance.now();
    return Promise.reject(new BlockError("ERR_IO", "nobody listens", { errno: "ECONNREFUSED" }));
  };
  assert.is(await refusal(nbdStorage({ ...options, connect: absent })), "nobody listens");
  assert.ok(attempts >= 2, `${attempts} attempts`);
  assert.ok(last - began >= options.openTimeout, `the last attempt came after ${last - began} ms`);
  attempts = 0;
  const connect = () => (attempts === 0 ? absent() : NbdClient.connect(webDuplex(served.connect()), { exportName: "disk" }));
  const storage = await nbdStorage({ ...options, openTimeout: 60_000, connect });
  assert.is(await storage.async!.size(), SIZE);
  await storage.async!.close();
  await served.close();
});

test("over MessagePorts", async () => {
  const served = await serve();
  const { port1, port2 } = new MessageChannel();
  void served.server.accept(messageDuplex(port1));
  const client = await NbdClient.connect(messageDuplex(port2), { exportName: "disk" });
  const bytes = new Uint8Array(300_000);
  await client.read(bytes, 0);
  assert.is(bytes[65536], 7);
  await client.close();
  await served.close();
});

test("random bytes, wrong magic, endless options: the server stays up and serves the next client", async () => {
  const seed = chooseSeed();
  console.log(`nbd abuse: SEED=${seed}`);
  const chance = random(seed);
  const served = await serve({ handshakeTimeout: 300 });
  const rude: ((end: PipeEnd) => Promise<void>)[] = [];
  for (let i = 0; i < 40; i++) {
    rude.push(async ({ writable }) => {
      const writer = writable.getWriter();
      const start = chance.chance(0.5) ? encodeText("\0\0\0\x03IHAVEOPT") : new Uint8Array(0);
      await writer.write(start);
      await writer.write(chance.bytes(1 + chance.int(300)));
      if (chance.chance(0.5)) await writer.close();
    });
  }
  rude.push(async ({ writable }) => {
    // An option that claims 4 GiB.
    const writer = writable.getWriter();
    const bytes = new Uint8Array(20);
    viewOf(bytes).setUint32(0, 3);
    bytes.set(encodeText("IHAVEOPT"), 4);
    viewOf(bytes).setUint32(12, 7);
    viewOf(bytes).setUint32(16, 0xffffffff);
    await writer.write(bytes);
  });
  for (const act of rude) await act(served.connect()).catch(() => {});
  // Half-open connections.
  for (let i = 0; i < 200; i++) served.connect();
  const began = performance.now();
  const client = await NbdClient.connect(webDuplex(served.connect()), { exportName: "disk" });
  const bytes = new Uint8Array(16);
  await client.read(bytes, 65536);
  assert.is(bytes[0], 7);
  assert.ok(performance.now() - began < 2000, "a well-behaved client is answered");
  await client.close();
  await served.close();
});

test("requests that break the rules end one connection or get an error, never the server", async () => {
  const served = await serve();
  for (const [command, length, flags] of [
    [99, 1, 0],
    [Command.read, 0xffffffff, 0],
    [Command.blockStatus, 0, 0],
    [Command.write, 0xfffffff0, 0],
    [Command.trim, 10, 0x80],
  ] as const) {
    const end = served.connect();
    const reader = end.readable.getReader();
    const writer = end.writable.getWriter();
    await reader.read();
    const name = encodeText("disk");
    const hello = new Uint8Array(20 + name.length);
    viewOf(hello).setUint32(0, 3);
    hello.set(encodeText("IHAVEOPT"), 4);
    viewOf(hello).setUint32(12, 1);
    viewOf(hello).setUint32(16, name.length);
    hello.set(name, 20);
    await writer.write(hello);
    await reader.read();
    const request = new Uint8Array(28);
    const view = viewOf(request);
    view.setUint32(0, REQUEST_MAGIC);
    view.setUint16(4, flags);
    view.setUint16(6, command);
    writeU64BE(view, 16, 0);
    view.setUint32(24, length);
    await writer.write(request);
    const answer = await reader.read();
    // A simple reply with an error, or the end of the connection.
    if (!answer.done) assert.ok(viewOf(answer.value).getUint32(4) !== 0, `command ${command}`);
    await writer.close().catch(() => {});
  }
  const client = await NbdClient.connect(webDuplex(served.connect()), { exportName: "disk" });
  await client.flush();
  await client.close();
  await served.close();
});

test("addresses", () => {
  const cases: [string, string][] = [
    ["nbd://host/", "nbd://host:10809"],
    ["nbd://[::1]:99/a%20b", "nbd://[::1]:99/a%20b"],
    ["nbd+unix:///x?socket=/run/s", "nbd+unix:///x?socket=/run/s"],
    ["nbd+unix:///?socket=s", "nbd+unix://?socket=s"],
    ["nbd:localhost:10809:exportname=foo", "nbd://localhost:10809/foo"],
    ["nbd:unix:/run/s:exportname=foo", "nbd+unix:///foo?socket=/run/s"],
    ["nbds://host/x", "nbds://host:10809/x"],
  ];
  for (const [text, uri] of cases) assert.is(formatNbdUri(parseNbdAddress(text)), uri);
  for (const text of ["nbd:", "nbd+unix:///x", "nbd://h:x/", "nbd://h/?socket=1", "http://h/"])
    assert.throws(
      () => parseNbdAddress(text),
      (e: Error) => e instanceof BlockError,
    );
});

test.run();
