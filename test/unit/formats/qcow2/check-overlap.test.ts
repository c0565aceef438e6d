/** Overlap checks: an image whose refcounts lie about free space is marked corrupt instead of being destroyed. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readU64BE, viewOf } from "../../../../src/base/bytes.js";
import { BlockError } from "../../../../src/base/error.js";
import type { ImageCorrupted } from "../../../../src/block/context.js";
import { write } from "../../../../src/block/io.js";
import { openNode } from "../../../../src/block/open.js";
import { qcow2 } from "../../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { makeWorld } from "../../../support/world.js";

const offsets: Record<string, (view: DataView) => number> = {
  "active L1 table": (view) => readU64BE(view, 40),
  "refcount table": (view) => readU64BE(view, 48),
  "refcount block": (view) => readU64BE(view, readU64BE(view, 48)),
  "active L2 table": (view) => (readU64BE(view, readU64BE(view, 40)) % 2 ** 56) - 0,
};

async function attempt(
  template: string,
  name: string,
): Promise<{
  error: unknown;
  warnings: string[];
  events: ImageCorrupted[];
  bytes: Uint8Array;
  before: Uint8Array;
  again: unknown;
}> {
  const world = makeWorld({ mode: "sync", drivers: [raw, qcow2] });
  await world.create("qcow2", "image", 64 << 20);
  let node = await world.open("qcow2", "image");
  await world.run(write(node, new Uint8Array(65536).fill(1), 0));
  await world.close(node);
  const before = world.bytes("image");
  const view = viewOf(before);
  // The flag bits of the L1 entry are no part of the offset.
  const l1 = readU64BE(view, 40);
  const at =
    name === "active L2 table" ? (view.getUint32(l1) & 0xffffff) * 2 ** 32 + view.getUint32(l1 + 4) : offsets[name]!(view);
  view.setUint16(readU64BE(view, readU64BE(view, 48)) + (at / 65536) * 2, 0);
  world.files.set("image", memoryStorage(before, { name: "image" }));
  const events: ImageCorrupted[] = [];
  const environment = { ...world.environment, imageCorrupted: (event: ImageCorrupted) => void events.push(event) };
  node = await world.run(
    openNode(environment, { filename: "image", driver: "qcow2", options: { "overlap-check": template }, flags: { write: true } }),
  );
  const tryWrite = async (): Promise<unknown> => {
    try {
      await world.run(write(node, new Uint8Array(65536).fill(2), 1 << 20));
      return null;
    } catch (error) {
      return error;
    }
  };
  const error = await tryWrite();
  const again = await tryWrite();
  try {
    await world.close(node);
  } catch {
    // a corrupt image need not close cleanly
  }
  return { error, warnings: world.warnings, events, bytes: world.bytes("image"), before, again };
}

for (const name of Object.keys(offsets)) {
  test(name, async () => {
    const { error, warnings, events, bytes, before, again } = await attempt("cached", name);
    const message = `Preventing invalid write on metadata (overlaps with ${name})`;
    assert.ok(error instanceof BlockError && error.message === message, String(error));
    assert.is((error as BlockError).errno, "EIO");
    assert.ok(again instanceof BlockError, "the next write is refused too");
    assert.equal(warnings, [`qcow2: Marking image as corrupt: ${message}; further corruption events will be suppressed`]);
    assert.equal(
      events.map(({ message: text, fatal }) => [text, fatal]),
      [[message, true]],
    );
    assert.is(viewOf(bytes).getUint32(76) & 2, 2, "the corrupt bit");
    // Nothing but the header and at most refcounts changed.
    const view = viewOf(before);
    const l1 = readU64BE(view, 40);
    assert.equal(bytes.subarray(l1, l1 + 65536), before.subarray(l1, l1 + 65536));
  });
}

test("constant leaves out what changes all the time", async () => {
  const { error } = await attempt("constant", "active L1 table");
  assert.ok(error instanceof BlockError);
});

test.run();
