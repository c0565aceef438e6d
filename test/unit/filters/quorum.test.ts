/** quorum: votes, reports, repair, fifo. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { allFilters } from "../../../src/platform/all-filters.js";
import type { BlockdevOptions } from "../../../src/block/context.js";
import { read, write, writeZeroes } from "../../../src/block/io.js";
import type { Node } from "../../../src/block/node.js";
import { openNode } from "../../../src/block/open.js";
import { blockStatus } from "../../../src/block/status.js";
import { raw } from "../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../src/storage/memory.js";
import { makeWorld, type World } from "../../support/world.js";

const SIZE = 65536;

async function three(
  options: BlockdevOptions,
  faults: readonly (readonly object[])[] = [],
): Promise<{ on: World; node: Node; events: [string, Record<string, unknown>][] }> {
  const on = makeWorld({ mode: "sync", drivers: [raw, ...allFilters] });
  const events: [string, Record<string, unknown>][] = [];
  Object.assign(on.environment, { onEvent: (name: string, data: Record<string, unknown>) => void events.push([name, data]) });
  const count = options["count"] === undefined ? 3 : Number(options["count"]);
  const { count: _, ...rest } = options;
  const children = [];
  for (let i = 0; i < count; i++) {
    on.files.set(`d${i}`, memoryStorage(SIZE, { name: `d${i}` }));
    const file = { driver: "file", filename: `d${i}` };
    children.push({
      driver: "raw",
      "node-name": `n${i}`,
      file: faults[i] === undefined ? file : { driver: "blkdebug", image: file, "inject-error": faults[i] },
    });
  }
  const node = await on.run(
    openNode(on.environment, { driver: "quorum", options: { children, ...rest }, flags: { write: true } }),
  );
  return { on, node, events };
}

const attempt = async (work: Promise<unknown>): Promise<Error | null> =>
  work.then(
    () => null,
    (error: unknown) => error as Error,
  );

test("the majority wins, the loser is reported and, if asked for, put right", async () => {
  for (const rewrite of [false, true]) {
    const { on, node, events } = await three({ "vote-threshold": 2, "rewrite-corrupted": rewrite });
    await on.run(write(node, new Uint8Array(4096).fill(5), 8192));
    on.files.get("d1")!.sync.write(new Uint8Array(512).fill(9), 8192);
    const back = new Uint8Array(4096);
    await on.run(read(node, back, 8192));
    assert.equal(back, new Uint8Array(4096).fill(5));
    assert.equal(events, [["QUORUM_REPORT_BAD", { type: "read", "node-name": "n1", "sector-num": 16, "sectors-count": 8 }]]);
    assert.is(on.bytes("d1")[8192], rewrite ? 5 : 9);
    await on.close(node);
  }
});

test("a quorum that guests must not write to still puts its copies right, where they are writable", async () => {
  const on = makeWorld({ mode: "sync", drivers: [raw, ...allFilters] });
  const children: Node[] = [];
  for (let i = 0; i < 3; i++) {
    on.files.set(`d${i}`, memoryStorage(SIZE, { name: `d${i}` }));
    children.push(await on.run(openNode(on.environment, { filename: `d${i}`, driver: "raw", flags: { write: true } })));
  }
  const nodes = new Map(children.map((node, i) => [`c${i}`, node]));
  Object.assign(on.environment, { findNode: (name: string) => nodes.get(name) ?? null });
  const options = { "vote-threshold": 2, "rewrite-corrupted": true, children: [...nodes.keys()] };
  const node = await on.run(openNode(on.environment, { driver: "quorum", options }));
  assert.ok(node.readOnly);
  on.files.get("d1")!.sync.write(new Uint8Array(512).fill(9), 8192);
  await on.run(read(node, new Uint8Array(4096), 8192));
  assert.is(on.bytes("d1")[8192], 0);
  await on.close(node);
  for (const child of children) await on.close(child);
});

test("no majority is an error, and so are too few copies that can be read", async () => {
  const { on, node, events } = await three({ "vote-threshold": 2 });
  for (const i of [0, 1, 2]) on.files.get(`d${i}`)!.sync.write(new Uint8Array(1).fill(i + 1), 0);
  assert.is((await attempt(on.run(read(node, new Uint8Array(512), 0))))?.message, "Input/output error");
  assert.is(events[0]![0], "QUORUM_FAILURE");
  await on.close(node);
  const bad = [[{ event: "none", errno: 28, iotype: "read" }], [{ event: "none", errno: 28, iotype: "read" }]];
  const second = await three({ "vote-threshold": 2 }, bad);
  assert.is((await attempt(second.on.run(read(second.node, new Uint8Array(512), 0))))?.message, "No space left on device");
  assert.equal(
    second.events.map(([name]) => name),
    ["QUORUM_REPORT_BAD", "QUORUM_REPORT_BAD", "QUORUM_FAILURE"],
  );
  await second.on.close(second.node);
});

test("a write succeeds when enough copies take it", async () => {
  const fails = [{ event: "none", iotype: "write" }];
  const one = await three({ "vote-threshold": 2 }, [fails]);
  assert.is(await attempt(one.on.run(write(one.node, new Uint8Array(512).fill(1), 0))), null);
  assert.is(one.events[0]![1]["error"], "Input/output error");
  assert.is(one.on.bytes("d0")[0], 0);
  assert.is(one.on.bytes("d2")[0], 1);
  const two = await three({ "vote-threshold": 2 }, [fails, fails]);
  assert.is((await attempt(two.on.run(write(two.node, new Uint8Array(512).fill(1), 0))))?.message, "Input/output error");
});

test("fifo takes the first copy that can be read", async () => {
  const { on, node, events } = await three({ "vote-threshold": 1, "read-pattern": "fifo" }, [
    [{ event: "none", iotype: "read" }],
  ]);
  on.files.get("d1")!.sync.write(new Uint8Array(1).fill(7), 0);
  const back = new Uint8Array(512);
  await on.run(read(node, back, 0));
  assert.is(back[0], 7);
  assert.is(events.length, 1);
  await on.close(node);
});

test("blkverify names the first byte that differs", async () => {
  const { on, node } = await three({ count: 2, "vote-threshold": 2, blkverify: true });
  on.files.get("d1")!.sync.write(new Uint8Array(1).fill(7), 777);
  assert.match((await attempt(on.run(read(node, new Uint8Array(512), 512))))!.message, /Content mismatch at offset 777$/);
  await on.close(node);
});

test("what cannot be a quorum is refused", async () => {
  assert.match((await attempt(three({ "vote-threshold": 4 })))!.message, /threshold may not exceed children count/);
  assert.match((await attempt(three({})))!.message, /vote-threshold/);
  assert.match((await attempt(three({ "vote-threshold": 2, blkverify: true })))!.message, /exactly two files/);
});

test("zeros are where all copies have zeros", async () => {
  const { on, node } = await three({ "vote-threshold": 2 });
  const zeroRuns = async (): Promise<[number, number, boolean][]> => {
    const runs: [number, number, boolean][] = [];
    for (let at = 0; at < SIZE;) {
      const { length, zero } = await on.run(blockStatus(node, at, SIZE - at));
      runs.push([at, length, zero]);
      at += length;
    }
    return runs;
  };
  await on.run(writeZeroes(node, 0, SIZE, { mayUnmap: true }));
  assert.equal(await zeroRuns(), [[0, SIZE, true]]);
  on.files.get("d1")!.sync.write(new Uint8Array(4096).fill(1), 8192);
  // One that has something else will have to be asked.
  assert.ok((await zeroRuns()).some(([at, length, zero]) => !zero && at <= 8192 && 8192 < at + length));
  await on.close(node);
});

test.run();
