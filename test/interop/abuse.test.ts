/**
 * Those who break the rules, against the programs: random bytes, requests too large, lines too long, connections left half open,
 * readers that do not read, clients that vanish. After each the server is up and a well-behaved client is answered.
 */
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { NbdClient } from "../../src/nbd/client.js";
import { connectSocket, socketDuplex } from "../../src/nbd/node-socket.js";
import { chooseSeed, random } from "../support/random.js";
import { OURS, Servers } from "./servers.js";

const servers = new Servers("abuse");
const { path, start, stop } = servers;
const MiB = 1024 * 1024;
/** Memory that an abused server may have at most, in bytes. */
const MEMORY = 128 * MiB;
const seed = chooseSeed();
const rng = random(seed);

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function noise(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = rng.int(256);
  return bytes;
}

/** A connection that does what it likes; errors are its own. */
function rude(socket: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const peer = connect(path(socket));
    peer.once("connect", () => resolve(peer));
    peer.on("error", reject);
  });
}

/** Sends bytes, reads nothing or all, stays a while, and goes without a word. */
async function send(socket: string, bytes: Buffer, options: { read?: boolean; stay?: number } = {}): Promise<void> {
  const peer = await rude(socket);
  if (options.read !== false) peer.resume();
  peer.write(bytes);
  await pause(options.stay ?? 60);
  peer.destroy();
}

/** Peak of resident memory, in bytes; 0 where the system does not tell. */
function peakMemory(child: ChildProcess): number {
  try {
    return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

interface Step {
  name: string;
  run(): Promise<void>;
}

/** Runs the steps; the well-behaved client comes after each of them. Where that fails the server is not left behind. */
async function endure(child: ChildProcess, steps: readonly Step[], wellBehaved: () => Promise<void>): Promise<void> {
  try {
    await tryAll(child, steps, wellBehaved);
  } catch (error) {
    if (child.exitCode === null && child.signalCode === null) await stop(child);
    throw error;
  }
}

async function tryAll(child: ChildProcess, steps: readonly Step[], wellBehaved: () => Promise<void>): Promise<void> {
  await wellBehaved();
  let worst = 0;
  for (const { name, run } of steps) {
    await run().catch(() => {});
    assert.is(child.exitCode, null, `${name}: the server is gone (seed ${seed})`);
    const since = performance.now();
    let patience: NodeJS.Timeout | undefined;
    const waited = new Promise<never>((_, reject) => {
      patience = setTimeout(() => reject(new Error(`${name}: a well-behaved client waits (seed ${seed})`)), 20_000);
    });
    await Promise.race([wellBehaved(), waited]).finally(() => clearTimeout(patience));
    worst = Math.max(worst, performance.now() - since);
    const peak = peakMemory(child);
    if (process.env["BLOCKCORE_VERBOSE"] !== undefined)
      console.log(name, Math.round(performance.now() - since), Math.round(peak / MiB));
    if (peak >= MEMORY) throw new Error(`${name}: ${Math.round(peak / MiB)} MiB of memory (seed ${seed})`);
  }
  console.log(
    `  slowest answer to a well-behaved client ${worst.toFixed(0)} ms, peak memory ${Math.round(peakMemory(child) / MiB)} MiB`,
  );
}

// ---- NBD --------------------------------------------------------------------------------------------------------------

const FLAGS = Buffer.from([0, 0, 0, 3]);

function option(number: number, length: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(16);
  head.write("IHAVEOPT");
  head.writeUInt32BE(number, 8);
  head.writeUInt32BE(length, 12);
  return Buffer.concat([head, data]);
}

/** Enters the export "d". */
const GO = option(7, 7, Buffer.from([0, 0, 0, 1, 0x64, 0, 0]));

function request(command: number, offset: number, length: number, flags = 0): Buffer {
  const head = Buffer.alloc(28);
  head.writeUInt32BE(0x25609513);
  head.writeUInt16BE(flags, 4);
  head.writeUInt16BE(command, 6);
  head.writeUInt32BE(offset >= 2 ** 53 ? 0xffffffff : Math.floor(offset / 2 ** 32), 16);
  head.writeUInt32BE(offset % 2 ** 32, 20);
  head.writeUInt32BE(length, 24);
  return head;
}

test("the NBD server", async () => {
  servers.run(`${OURS}/qemu-img`, "create", "-q", "-f", "qcow2", "disk.qcow2", "1G");
  const child = await start(
    "n.sock",
    `${OURS}/qemu-nbd`,
    "-t",
    "-e",
    "0",
    "-x",
    "d",
    "-f",
    "qcow2",
    "-k",
    "n.sock",
    "disk.qcow2",
  );
  const held: Socket[] = [];
  const hold = async (count: number, bytes: Buffer): Promise<void> => {
    for (let i = 0; i < count; i++) {
      const peer = await rude("n.sock");
      peer.write(bytes);
      held.push(peer);
    }
  };
  const entered = Buffer.concat([FLAGS, GO]);
  const after = (...requests: Buffer[]): Buffer => Buffer.concat([entered, ...requests]);
  const many = (count: number, each: Buffer): Buffer => Buffer.concat(Array.from({ length: count }, () => each));
  const steps: Step[] = [
    { name: "random bytes for flags", run: () => send("n.sock", noise(4096)) },
    { name: "random bytes for an option", run: () => send("n.sock", Buffer.concat([FLAGS, noise(65536)])) },
    { name: "random bytes for a request", run: () => send("n.sock", after(noise(65536))) },
    {
      name: "a hundred that come and go",
      run: async () => void (await Promise.all(Array.from({ length: 100 }, () => send("n.sock", Buffer.alloc(0), { stay: 0 })))),
    },
    { name: "unknown flags", run: () => send("n.sock", Buffer.from([255, 255, 255, 255])) },
    { name: "an option of 4 GiB", run: () => send("n.sock", Buffer.concat([FLAGS, option(7, 0xffffffff, noise(MiB))])) },
    {
      name: "an option of 16 MiB that comes",
      run: () => send("n.sock", Buffer.concat([FLAGS, option(7, 16 * MiB, Buffer.alloc(16 * MiB))])),
    },
    { name: "an option of 32 MiB that does not", run: () => hold(4, Buffer.concat([FLAGS, option(7, 32 * MiB, noise(100))])) },
    {
      name: "names with wrong lengths",
      run: async () => {
        for (const length of [0, 3, 4, 5, 4097, 65535]) {
          const data = Buffer.alloc(length, 0xff);
          for (const number of [1, 6, 7, 9, 10])
            await send("n.sock", Buffer.concat([FLAGS, option(8, 0), option(number, length, data)]), { stay: 5 });
        }
      },
    },
    {
      name: "ten thousand lists, nothing read",
      run: () => send("n.sock", Buffer.concat([FLAGS, many(10_000, option(3, 0))]), { read: false, stay: 300 }),
    },
    {
      name: "ten thousand queries",
      run: () => {
        const query = Buffer.concat([Buffer.from([0, 0, 0, 5]), Buffer.from("base:")]);
        const data = Buffer.concat([Buffer.from([0, 0, 0, 1, 0x64, 0, 0, 0x1b, 0x58]), many(7000, query)]);
        return send("n.sock", Buffer.concat([FLAGS, option(8, 0), option(10, data.length, data)]));
      },
    },
    { name: "two hundred half open", run: () => hold(200, FLAGS) },
    { name: "two hundred more, silent", run: () => hold(200, Buffer.alloc(0)) },
    { name: "a wrong magic", run: () => send("n.sock", after(Buffer.alloc(28, 0x11))) },
    {
      name: "requests far outside",
      run: () =>
        send(
          "n.sock",
          after(
            request(0, 2 ** 40, 512),
            request(0, 2 ** 60, 512),
            request(4, 2 ** 50, 0xffffffff),
            request(6, 0, 0xffffffff),
            request(7, 2 ** 33, 0xffffffff),
            request(5, 0, 0xffffffff),
          ),
        ),
    },
    {
      name: "unknown commands and flags",
      run: () => send("n.sock", after(request(99, 0, 512), request(0, 0, 512, 0xffff), request(6, 0, 512, 0x7fff))),
    },
    { name: "a read of 4 GiB", run: () => send("n.sock", after(request(0, 0, 0xffffffff), request(0, 0, 512))) },
    { name: "a write of 4 GiB", run: () => send("n.sock", after(request(1, 0, 0xffffffff), noise(MiB))) },
    { name: "writes that do not come", run: () => hold(8, after(request(1, 0, 32 * MiB), noise(100))) },
    { name: "writes that end half way", run: () => send("n.sock", after(request(1, 0, MiB), noise(MiB / 2)), { stay: 20 }) },
    {
      name: "a thousand reads of 32 MiB, nothing read",
      run: () => send("n.sock", after(many(1000, request(0, 0, 32 * MiB))), { read: false, stay: 1500 }),
    },
    {
      name: "four readers that do not read",
      run: async () =>
        void (await Promise.all(
          [1, 2, 3, 4].map(() => send("n.sock", after(many(200, request(0, 0, 32 * MiB))), { read: false, stay: 1500 })),
        )),
    },
    {
      name: "caching the whole disk again and again",
      run: () => send("n.sock", after(many(50, request(5, 0, 1024 * MiB - 512))), { stay: 300 }),
    },
    {
      name: "a thousand block statuses, nothing read",
      run: () =>
        send(
          "n.sock",
          Buffer.concat([
            FLAGS,
            option(8, 0),
            option(10, 27, Buffer.from("\0\0\0\u0001d\0\0\0\u0001\0\0\0\u000fbase:allocation", "latin1").subarray(0, 27)),
            GO,
            many(1000, request(7, 0, 1024 * MiB - 512)),
          ]),
          { read: false, stay: 300 },
        ),
    },
    {
      name: "zeros all over, then gone",
      run: () => send("n.sock", after(many(64, request(6, 0, 1024 * MiB - 65536))), { stay: 50 }),
    },
    {
      name: "bytes one at a time",
      run: async () => {
        const peer = await rude("n.sock");
        peer.resume();
        for (const byte of after(request(0, 0, 512))) {
          peer.write(Buffer.from([byte]));
          await pause(1);
        }
        peer.destroy();
      },
    },
  ];
  await endure(child, steps, async () => {
    const client = await NbdClient.connect(socketDuplex(await connectSocket({ path: path("n.sock") })), { exportName: "d" });
    await client.read(new Uint8Array(4096), 512 * MiB);
    await client.close();
  });
  for (const peer of held) peer.destroy();
  await stop(child);
  assert.match(servers.try(`${OURS}/qemu-img`, "check", "disk.qcow2").output, /No errors were found/);
});

test("the time for a negotiation is limited", async () => {
  servers.run(`${OURS}/qemu-img`, "create", "-q", "-f", "raw", "t.raw", "1M");
  const child = await start("t.sock", `${OURS}/qemu-nbd`, "-t", "-f", "raw", "-k", "t.sock", "t.raw");
  const peer = await rude("t.sock");
  peer.resume();
  const since = performance.now();
  peer.write(FLAGS);
  await new Promise((resolve) => peer.once("close", resolve));
  const seconds = (performance.now() - since) / 1000;
  assert.ok(seconds > 8 && seconds < 25, `${seconds} s`);
  await stop(child);
});

test("who comes when all places are taken waits for one", async () => {
  servers.run(`${OURS}/qemu-img`, "create", "-q", "-f", "raw", "w.raw", "1M");
  const child = await start("w.sock", `${OURS}/qemu-nbd`, "-t", "-e", "1", "-f", "raw", "-k", "w.sock", "w.raw");
  const join = async (): Promise<NbdClient> => NbdClient.connect(socketDuplex(await connectSocket({ path: path("w.sock") })));
  const first = await join();
  let second: NbdClient | null = null;
  const waiting = join().then((client) => (second = client));
  await pause(200);
  assert.is(second, null, "its turn has not come");
  await first.close();
  await (await waiting).read(new Uint8Array(512), 0);
  await (await waiting).close();
  await stop(child);
});

// ---- QMP --------------------------------------------------------------------------------------------------------------

/** Greets, negotiates, asks for the version. */
async function askVersion(socket: string): Promise<void> {
  const peer = await rude(socket);
  let heard = "";
  const until = (what: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (!heard.includes(what)) return;
        peer.off("data", look);
        resolve();
      };
      peer.on("data", look);
      peer.once("close", () => reject(new Error("the monitor hung up")));
      look();
    });
  peer.on("data", (chunk) => (heard += chunk.toString()));
  await until('"QMP"');
  peer.write('{"execute":"qmp_capabilities"}\n{"execute":"query-version","id":"v"}\n');
  await until('"id": "v"');
  peer.destroy();
}

test("the QMP server", async () => {
  const child = await start(
    "q.sock",
    `${OURS}/qemu-storage-daemon`,
    "--chardev",
    `socket,id=c,path=${path("q.sock")},server=on,wait=off`,
    "--monitor",
    "c",
  );
  const hello = '{"execute":"qmp_capabilities"}\n';
  const text = (content: string, options: { read?: boolean; stay?: number } = {}): Promise<void> =>
    send("q.sock", Buffer.from(content), options);
  const held: Socket[] = [];
  const answerTo = async (line: string): Promise<string> => {
    const peer = await rude("q.sock");
    let heard = "";
    peer.on("data", (chunk) => (heard += chunk.toString()));
    peer.write(`${line}\n`);
    for (let tries = 0; tries < 200 && heard.trim().split("\n").length < 2; tries++) await pause(20);
    peer.destroy();
    return heard.trim().split("\n")[1] ?? "";
  };
  const steps: Step[] = [
    { name: "random bytes", run: () => send("q.sock", noise(65536)) },
    { name: "NUL bytes", run: () => send("q.sock", Buffer.alloc(65536)) },
    {
      name: "no UTF-8",
      run: () => send("q.sock", Buffer.concat([Buffer.from('{"execute":"'), Buffer.alloc(1000, 0xc0), Buffer.from('"}\n')])),
    },
    {
      name: "a line of 100 MiB",
      run: async () => {
        const peer = await rude("q.sock");
        peer.resume();
        const chunk = Buffer.alloc(MiB, 0x61);
        peer.write('{"execute":"');
        for (let i = 0; i < 100; i++) if (!peer.write(chunk)) await new Promise((resolve) => peer.once("drain", resolve));
        peer.destroy();
      },
    },
    { name: "a million brackets", run: () => text("[".repeat(1_000_000)) },
    { name: "a million braces", run: () => text('{"a":'.repeat(200_000)) },
    { name: "four million numbers", run: () => text(`${hello}[${"1,".repeat(4_000_000)}1]`, { stay: 500 }) },
    { name: "commands ahead of capabilities", run: () => text('{"execute":"query-block"}\n'.repeat(10_000), { stay: 100 }) },
    {
      name: "answers that nobody reads",
      run: () => text(hello + '{"execute":"query-qmp-schema"}\n'.repeat(2000), { read: false, stay: 1000 }),
    },
    { name: "errors that nobody reads", run: () => text("?\n".repeat(500_000), { read: false, stay: 500 }) },
    { name: "half a command", run: () => text(`${hello}{"execute":"query`) },
    {
      name: "two hundred half open",
      run: async () => {
        for (let i = 0; i < 200; i++) {
          const peer = await rude("q.sock");
          peer.write('{"execute":');
          held.push(peer);
        }
      },
    },
    {
      name: "gone in the middle of a command",
      run: () => text(`${hello}${'{"execute":"query-named-block-nodes"}\n'.repeat(100)}`, { stay: 0 }),
    },
    {
      name: "names of Object.prototype",
      run: () => text(`${hello}{"execute":"__proto__","arguments":{"__proto__":1,"constructor":{}}}\n{"execute":"toString"}\n`),
    },
    {
      name: "numbers that are none",
      run: async () => {
        const answer = await answerTo('{"execute":"query-version","id":1e999}');
        assert.not.match(answer, /\binf|nan\b/i);
        JSON.parse(answer);
      },
    },
    { name: "the same key twice", run: async () => assert.match(await answerTo('{"execute":"a","execute":"b"}'), /error/) },
  ];
  await endure(child, steps, () => askVersion("q.sock"));
  for (const peer of held) peer.destroy();
  await stop(child);
});

test.run();
