/** blkdebug: rules from files and options, events that formats tell of, breakpoints, limits. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../src/base/error.js";
import { discard, flush, read, write, writeZeroes } from "../../../src/block/io.js";
import { blockStatus } from "../../../src/block/status.js";
import type { Op } from "../../../src/block/op.js";
import { allFilters } from "../../../src/platform/all-filters.js";
import { allFormats } from "../../../src/platform/all-formats.js";
import { parseConfig } from "../../../src/filters/blkdebug/config.js";
import { qcow2 } from "../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../src/storage/memory.js";
import { makeWorld, type World } from "../../support/world.js";

const MB = 1024 * 1024;

async function world(mode: "sync" | "async" = "sync"): Promise<World> {
  const made = makeWorld({ mode, drivers: [raw, qcow2, ...allFilters] });
  await made.create("qcow2", "image", 16 * MB);
  return made;
}

async function failure(on: World, op: Op<unknown>): Promise<BlockError | null> {
  try {
    await on.run(op);
    return null;
  } catch (error) {
    if (error instanceof BlockError) return error;
    throw error;
  }
}

const bytes = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

test("a rule from a configuration file fails one request", async () => {
  const on = await world();
  on.files.set(
    "rules",
    memoryStorage(new TextEncoder().encode('# comment\n\n[inject-error]\nevent = "write_aio"\nerrno = "28"\nonce ="on"\n'), {
      name: "rules",
    }),
  );
  const node = await on.open(null, "blkdebug:rules:image");
  assert.is(node.driver.name, "qcow2");
  const error = await failure(on, write(node, bytes(65536, 1), 0));
  assert.is(error?.errno, "ENOSPC");
  assert.is(await failure(on, write(node, bytes(65536, 2), 0)), null);
  const back = new Uint8Array(65536);
  await on.run(read(node, back, 0));
  assert.equal(back, bytes(65536, 2));
  await on.close(node);
});

test("every error rule of an event counts until another event has rules; states move on", async () => {
  const on = await world();
  const node = await on.open(
    "qcow2",
    "image",
    { write: true },
    {
      file: {
        driver: "blkdebug",
        "inject-error": [{ event: "read_aio", state: 2, errno: 5 }],
        "set-state": [{ event: "write_aio", state: 1, new_state: 2 }],
      },
    },
  );
  const back = new Uint8Array(512);
  await on.run(read(node, back, 0));
  assert.is(await failure(on, write(node, bytes(65536, 1), 0)), null);
  assert.is((await failure(on, read(node, back, 0)))?.errno, "EIO");
  assert.is((await failure(on, flush(node)))?.errno, "EIO", "the rule stays active");
  node.references = 0;
});

test("rules are for a place and a kind of request", async () => {
  const on = makeWorld({ mode: "sync", drivers: [raw, ...allFilters] });
  on.files.set("disk", memoryStorage(MB, { name: "disk" }));
  const node = await on.open(
    "blkdebug",
    "disk",
    { write: true, unmap: true },
    {
      image: { driver: "raw" },
      "inject-error": {
        "0": { event: "none", sector: 4, iotype: "write" },
        "1": { event: "none", iotype: "discard", errno: 95 },
      },
    },
  );
  assert.is(await failure(on, write(node, bytes(512, 1), 3 * 512)), null);
  assert.is((await failure(on, write(node, bytes(1024, 1), 3 * 512)))?.errno, "EIO");
  assert.is(await failure(on, read(node, new Uint8Array(4096), 0)), null);
  assert.is((await failure(on, discard(node, 0, 4096)))?.errno, "ENOTSUP");
  await on.close(node);
});

test("block status can fail, and is that of the image below otherwise", async () => {
  const on = await world();
  let node = await on.open("blkdebug", "image", { write: true }, { image: { driver: "qcow2" } });
  await on.run(write(node, bytes(65536, 1), 65536));
  const status = await on.run(blockStatus(node, 0, MB));
  assert.is(status.allocated, false);
  assert.is(status.length, 65536);
  await on.close(node);
  node = await on.open(
    "blkdebug",
    "image",
    { write: true },
    { image: { driver: "qcow2" }, "inject-error": [{ event: "none", iotype: "block-status" }] },
  );
  assert.is((await failure(on, blockStatus(node, 0, MB)))?.errno, "EIO");
  await on.close(node);
});

test("a request stops at a breakpoint until it is resumed", async () => {
  const on = await world("async");
  const said: string[] = [];
  Object.assign(on.environment, { debugMessage: (message: string) => void said.push(message) });
  const node = await on.open(null, "blkdebug::image");
  const { debug } = node.file.impl;
  debug!.addBreakpoint("write_aio", "A");
  assert.throws(() => debug!.addBreakpoint("write_nothing", "B"));
  let ended = false;
  const writing = on.run(write(node, bytes(8192, 7), 4096)).then(() => void (ended = true));
  for (let i = 0; i < 1000 && !debug!.isSuspended("A"); i++) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.ok(debug!.isSuspended("A"));
  assert.is(ended, false);
  const other = on.run(write(node, bytes(512, 8), 100 * 512));
  assert.ok(debug!.resume("A"));
  assert.not.ok(debug!.resume("A"));
  await Promise.all([writing, other]);
  assert.equal(said, ["blkdebug: Suspended request 'A'", "blkdebug: Resuming request 'A'"]);
  debug!.addBreakpoint("write_aio", "C");
  assert.ok(debug!.removeBreakpoint("C"));
  await on.run(write(node, bytes(512, 9), 0));
  await on.close(node);
});

test("small transfers and a coarse alignment change nothing but the requests", async () => {
  const on = makeWorld({ mode: "sync", drivers: [raw, ...allFilters] });
  on.files.set("disk", memoryStorage(MB, { name: "disk" }));
  const node = await on.open(
    "blkdebug",
    "disk",
    { write: true, unmap: true },
    { image: { driver: "raw" }, align: 4096, "max-transfer": 65536, "opt-write-zero": 16384 },
  );
  const expected = new Uint8Array(MB);
  const data = new Uint8Array(200_000).map((_, index) => index * 7);
  await on.run(write(node, data, 1000));
  expected.set(data, 1000);
  await on.run(writeZeroes(node, 5000, 100_000));
  expected.fill(0, 5000, 105_000);
  const back = new Uint8Array(150_001);
  await on.run(read(node, back, 999));
  assert.equal(back, expected.slice(999, 151_000));
  assert.equal(on.bytes("disk"), expected);
  await on.close(node);
});

test("what is wrong with rules is said", async () => {
  const on = await world();
  const attempt = async (options: Record<string, unknown>): Promise<string> => {
    try {
      await on.open("blkdebug", "image", { write: true }, options);
      return "opened";
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.is(await attempt({ "inject-error": [{ event: "l3_load" }] }), 'Invalid event name "l3_load"');
  assert.is(await attempt({ "inject-error": [{}] }), "Missing event name for rule");
  assert.is(await attempt({ "inject-error": [{ event: "none", colour: 1 }] }), "Invalid parameter 'colour'");
  assert.is(await attempt({ align: 3000 }), "Cannot meet constraints with align 3000");
  assert.is(await attempt({ config: "missing" }), "Could not read blkdebug config file: No such file or directory");
  assert.throws(() => parseConfig('event = "x"\n', "f"), /f:1: no group defined/);
  assert.throws(() => parseConfig("[set-state]\nnonsense\n", "f"), /f:2: parse error/);
  assert.throws(() => parseConfig("[other]\n", "f"), /There is no option group 'other'/);
});

test("every format's flush tells of itself: the second one fails, the third one has all of it", async () => {
  for (const driver of ["raw", "qcow2", "qed", "qcow", "cow", "vdi", "vpc", "vhdx", "vmdk", "parallels"]) {
    const on = makeWorld({ mode: "sync", drivers: [...allFormats, ...allFilters] });
    await on.create(driver, "image", 4 * MB);
    const node = await on.open(
      driver,
      "image",
      { write: true },
      {
        file: {
          driver: "blkdebug",
          "set-state": [{ event: "flush_to_disk", state: 1, new_state: 2 }],
          "inject-error": [{ event: "flush_to_disk", state: 2, once: true, immediately: true }],
        },
      },
    );
    await on.run(write(node, bytes(65536, 1), 0));
    assert.is(await failure(on, flush(node)), null, driver);
    await on.run(write(node, bytes(65536, 2), MB));
    assert.is((await failure(on, flush(node)))?.errno, "EIO", driver);
    assert.is(await failure(on, flush(node)), null, driver);
    await on.close(node);
    const again = await on.open(driver, "image", {});
    const back = new Uint8Array(65536);
    await on.run(read(again, back, MB));
    assert.equal(back, bytes(65536, 2), driver);
    await on.close(again);
  }
});

test("qcow2 comes through an error at every event unharmed", async () => {
  const events = [
    "l1_update",
    "l2_load",
    "l2_update",
    "l2_alloc_write",
    "write_aio",
    "cow_read",
    "refblock_load",
    "refblock_update_part",
    "refblock_alloc",
    "cluster_alloc",
    "cluster_free",
    "flush_to_os",
    "flush_to_disk",
    "refblock_alloc_hookup",
  ];
  for (const event of events) {
    const on = makeWorld({ mode: "sync", drivers: [raw, qcow2, ...allFilters] });
    await on.create("qcow2", "image", 16 * MB, { cluster_size: 1024 });
    const node = await on.open(
      "qcow2",
      "image",
      { write: true, unmap: true },
      { file: { driver: "blkdebug", "inject-error": [{ event, once: true }] } },
    );
    for (const [at, length] of [
      [0, 128 * 1024],
      [500, 2000],
      [8 * MB, 1024 * 1024],
    ] as const)
      await failure(on, write(node, bytes(length, 3), at));
    await failure(on, discard(node, 0, 65536));
    await failure(on, flush(node));
    for (const [at, length] of [
      [0, 128 * 1024],
      [500, 2000],
      [8 * MB, 1024 * 1024],
    ] as const)
      assert.is(await failure(on, write(node, bytes(length, 4), at)), null, event);
    await on.close(node);
    const again = await on.open("qcow2", "image", { write: false });
    const back = new Uint8Array(MB);
    await on.run(read(again, back, 8 * MB));
    assert.equal(back, bytes(MB, 4), event);
    const { impl } = again;
    const check = impl.shape === "mapped" ? await on.run(impl.check!({ fix: "none", report: () => {} })) : null;
    assert.is(check?.corruptions ?? 0, 0, event);
    await on.close(again);
  }
});

test.run();
