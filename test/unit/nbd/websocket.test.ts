/** WebSockets as connections: monitors and NBD over them, peers that send or take too much, peers that vanish. */
import type { AddressInfo } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { WebSocket, WebSocketServer } from "ws";
import { BlockCore, type Duplex, memoryStorage, messageDuplex, NbdClient } from "../../../src/node.js";
import { tempPath } from "../../support/temp.js";

const MiB = 1024 * 1024;

interface World {
  core: BlockCore;
  /** Connects a WebSocket that `attach` listens to from the start; its other end is `far`, what it talks to ends with `served`. */
  connect<T>(attach: (near: WebSocket) => T): Promise<{ near: WebSocket; peer: T; far: WebSocket; served: Promise<void> }>;
  close(): Promise<void>;
}

async function start(serve: (core: BlockCore, connection: Duplex) => Promise<void>): Promise<World> {
  const core = new BlockCore({ files: { f: memoryStorage(64 * MiB) } });
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await new Promise((resolve) => server.once("listening", resolve));
  return {
    core,
    async connect(attach) {
      const near = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
      near.on("error", () => {});
      const peer = attach(near);
      const [far] = (await Promise.all([
        new Promise((resolve) => server.once("connection", resolve)),
        new Promise((resolve) => near.once("open", resolve)),
      ])) as [WebSocket, unknown];
      return { near, peer, far, served: serve(core, messageDuplex(far as never)) };
    },
    async close() {
      await core.close();
      for (const client of server.clients) client.terminate();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const monitors = (): Promise<World> => start((core, connection) => core.serve(connection));

/** Lines as they come. */
function hear(socket: WebSocket): { next(): Promise<Record<string, unknown>>; count(): number } {
  let text = "";
  const lines: string[] = [];
  let wake = (): void => {};
  socket.on("message", (data: Buffer) => {
    const parts = (text + data.toString()).split("\r\n");
    text = parts.pop()!;
    lines.push(...parts);
    wake();
  });
  return {
    async next() {
      while (lines.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      return JSON.parse(lines.shift()!) as Record<string, unknown>;
    },
    count: () => lines.length,
  };
}

async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 5));
}

const HELLO = '{"execute":"qmp_capabilities"}';

test("a monitor: greeting, commands as text and as bytes, cut anywhere, events", async () => {
  const world = await monitors();
  const { near, peer: answers, served } = await world.connect(hear);
  assert.ok("QMP" in (await answers.next()));
  near.send(HELLO);
  assert.equal(await answers.next(), { return: {} });
  near.send(Buffer.from('{"execute":"blockdev-add","arguments":{"driver":"nu'));
  near.send('ll-co","node-name":"n","size":65536},"id":"ä"}');
  assert.equal(await answers.next(), { return: {}, id: "ä" });
  const options = { driver: "file", filename: tempPath(), size: 0 };
  near.send(JSON.stringify({ execute: "blockdev-create", arguments: { "job-id": "j", options } }));
  const heard = [await answers.next(), await answers.next()];
  assert.ok(heard.some(({ event }) => event === "JOB_STATUS_CHANGE"));
  near.close();
  await served;
  await world.close();
});

test("who does not take answers is not asked for more, and does not keep others waiting", async () => {
  const world = await monitors();
  const { near, peer: answers, far, served } = await world.connect(hear);
  const other = await world.connect(hear);
  await answers.next();
  near.pause();
  near.send(HELLO);
  const asked = 200;
  for (let i = 0; i < asked; i++) near.send('{"execute":"query-qmp-schema"}');
  for (let i = 0; i < 8; i++) near.send(" ".repeat(MiB));
  await until(() => far.isPaused);
  // A batch of answers is up to 1 MiB and one answer long; one is what is held beside what the WebSocket has.
  assert.ok(far.bufferedAmount < 8 * MiB, `${far.bufferedAmount} bytes wait`);
  await other.peer.next();
  other.near.send(HELLO);
  assert.equal(await other.peer.next(), { return: {} });
  near.resume();
  await until(() => answers.count() === asked + 1);
  assert.not.ok(far.isPaused);
  near.close();
  await served;
  await world.close();
});

test("a client that vanishes: its monitor ends, whatever it was doing", async () => {
  const world = await monitors();
  const { near, peer: answers, served } = await world.connect(hear);
  near.send(HELLO);
  for (let i = 0; i < 200; i++) near.send('{"execute":"query-qmp-schema"}');
  await answers.next();
  near.terminate();
  await served;
  const next = await world.connect(hear);
  assert.ok("QMP" in (await next.peer.next()));
  await world.close();
});

test("NBD: bytes both ways; a server that vanishes is an error, not a hang", async () => {
  const world = await start((core, connection) => core.serveNbd(connection));
  const { core } = world;
  const create = await core.start("blockdev-create", {
    "job-id": "c",
    options: { driver: "file", filename: "f", size: 64 * MiB },
  });
  await create.completed;
  await core.execute("blockdev-add", { driver: "file", filename: "f", "node-name": "n" });
  await core.startNbd();
  await core.execute("block-export-add", { type: "nbd", id: "e", "node-name": "n", name: "disk", writable: true });
  const { peer, far, served } = await world.connect((near) => messageDuplex(near as never));
  const client = await NbdClient.connect(peer, { exportName: "disk" });
  const written = new Uint8Array(9 * MiB);
  for (let i = 0; i < written.length; i++) written[i] = i * 7 + (i >> 12);
  await client.write(written, 12_345);
  const read = new Uint8Array(written.length);
  await Promise.all([client.read(read.subarray(0, 5 * MiB), 12_345), client.read(read.subarray(5 * MiB), 12_345 + 5 * MiB)]);
  assert.ok(Buffer.from(read).equals(Buffer.from(written)));
  const late = client.read(new Uint8Array(32 * MiB), 0).then(
    () => "read",
    () => "lost",
  );
  far.terminate();
  assert.is(await late, "lost");
  await served;
  await world.close();
});

test("who floods a WebSocket that can not be paused is hung up on", async () => {
  const heard = new Map<string, (event: { data?: unknown }) => void>();
  let open = true;
  const duplex = messageDuplex({
    send: () => {},
    close: () => (open = false),
    addEventListener: (type, listener) => void heard.set(type, listener),
  });
  for (let sent = 0; open; sent += MiB) {
    assert.ok(sent < 128 * MiB, "it would go on for ever");
    heard.get("message")!({ data: new ArrayBuffer(MiB) });
  }
  for await (const _ of duplex.incoming) assert.unreachable("nothing is left of it");
  await duplex.write([new Uint8Array(1)]).then(
    () => assert.unreachable("nobody listens"),
    (error: Error) => assert.match(error.message, /closed/),
  );
});

test.run();
