/** Differencing VHDX images: block states, sector bitmaps, and finding the parent. The child is laid out by hand after MS-VHDX. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { viewOf } from "../../../../src/base/bytes.js";
import type { GateDecision, Reference } from "../../../../src/block/context.js";
import { read, write } from "../../../../src/block/io.js";
import { done } from "../../../../src/block/op.js";
import { guidFromText, guidToText } from "../../../../src/codec/guid.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { vhdx } from "../../../../src/formats/vhdx/vhdx.js";
import { commitImage } from "../../../../src/image/commit.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { makeWorld, type World } from "../../../support/world.js";
import { refusal } from "../../../support/refused.js";

const MiB = 1048576;
const SIZE = 4 * MiB;
const BAT = 2 * MiB;
const METADATA = 3 * MiB;
/** Behind table, metadata and the gap. */
const DATA = 8 * MiB;

const utf16 = (text: string): Uint8Array =>
  Uint8Array.from(Array.from(text).flatMap((character) => [character.charCodeAt(0) & 255, character.charCodeAt(0) >> 8]));

function locator(pairs: Record<string, string>): Uint8Array {
  const entries = Object.entries(pairs);
  const bytes = new Uint8Array(4096);
  const view = viewOf(bytes);
  bytes.set(guidFromText("b04aefb7-d19e-4a81-b789-25b8e9445913"));
  view.setUint16(18, entries.length, true);
  let at = 20 + entries.length * 12;
  entries.forEach(([key, value], i) => {
    for (const [field, text] of [
      [0, utf16(key)],
      [4, utf16(value)],
    ] as const) {
      view.setUint32(20 + i * 12 + field, at, true);
      view.setUint16(20 + i * 12 + 8 + field / 2, text.length, true);
      bytes.set(text, at);
      at += text.length;
    }
  });
  return bytes;
}

/** A child of "parent.vhdx" with one block of each kind. */
async function makeChild(world: World, pairs: Record<string, string>): Promise<void> {
  await world.create("vhdx", "child.vhdx", SIZE, { block_size: MiB, block_state_zero: false });
  const bytes = new Uint8Array(DATA + 3 * MiB);
  bytes.set(world.bytes("child.vhdx"));
  const view = viewOf(bytes);
  // One more metadata item: the parent locator, required.
  view.setUint16(METADATA + 10, 6, true);
  const entry = METADATA + 32 + 5 * 32;
  bytes.set(guidFromText("a8d35f2d-b30b-454d-abf7-d3d84834ab0c"), entry);
  view.setUint32(entry + 16, 131072, true);
  view.setUint32(entry + 20, 4096, true);
  view.setUint32(entry + 24, 4, true);
  bytes.set(locator(pairs), METADATA + 131072);
  view.setUint32(METADATA + 65536 + 4, 2, true);
  const setEntry = (index: number, state: number, offset: number): void => {
    view.setUint32(BAT + index * 8, state + (((offset / MiB) % 4096) << 20), true);
    view.setUint32(BAT + index * 8 + 4, Math.floor(offset / MiB / 4096), true);
  };
  setEntry(0, 0, 0);
  setEntry(1, 2, 0);
  setEntry(2, 6, DATA);
  setEntry(3, 7, DATA + MiB);
  setEntry(4096, 6, DATA + 2 * MiB);
  bytes.fill(0x22, DATA, DATA + MiB);
  bytes.fill(0x33, DATA + MiB, DATA + 2 * MiB);
  // Of block 3 the sectors 1, 2, 9 and the last one are here.
  const bitmap = DATA + 2 * MiB + (3 * 2048) / 8;
  bytes[bitmap] = 0b110;
  bytes[bitmap + 1] = 0b10;
  bytes[bitmap + 255] = 0x80;
  world.files.set("child.vhdx", memoryStorage(bytes, { name: "child.vhdx" }));
}

async function makeParent(world: World): Promise<string> {
  await world.create("vhdx", "parent.vhdx", SIZE, {});
  const node = await world.open("vhdx", "parent.vhdx");
  await world.run(write(node, new Uint8Array(SIZE).fill(0x11), 0));
  await world.close(node);
  const bytes = world.bytes("parent.vhdx");
  // The header with the higher sequence number has the data write GUID that counts; both have the same.
  return guidToText(bytes.subarray(65536 + 32, 65536 + 48));
}

function expected(): Uint8Array {
  const want = new Uint8Array(SIZE);
  want.fill(0x11, 0, MiB);
  want.fill(0x22, 2 * MiB, 3 * MiB);
  want.fill(0x11, 3 * MiB);
  for (const sector of [1, 2, 9, 2047]) want.fill(0x33, 3 * MiB + sector * 512, 3 * MiB + (sector + 1) * 512);
  return want;
}

const world = (): World => makeWorld({ mode: "sync", drivers: [raw, vhdx] });

test("each block is where its state says; partly present ones by their sector bitmap", async () => {
  const here = world();
  const guid = await makeParent(here);
  await makeChild(here, {
    parent_linkage: `{${guid.toUpperCase()}}`,
    relative_path: ".\\parent.vhdx",
    absolute_win32_path: "C:\\vm\\parent.vhdx",
  });
  const node = await here.open(null, "child.vhdx", {});
  const seen = new Uint8Array(SIZE);
  await here.run(read(node, seen, 0));
  assert.is(Buffer.compare(seen, expected()), 0);
  const part = new Uint8Array(3000);
  await here.run(read(node, part, 3 * MiB + 100));
  assert.is(Buffer.compare(part, expected().subarray(3 * MiB + 100, 3 * MiB + 3100)), 0);
  const { impl } = node;
  assert.equal(impl.shape === "mapped" ? impl.backingFile : null, { filename: "parent.vhdx", format: "vhdx" });
  await here.close(node);
});

test("a parent that is another disk is refused; a missing one is named; the gate decides", async () => {
  const here = world();
  const guid = await makeParent(here);
  await makeChild(here, { parent_linkage: "{00000000-1111-2222-3333-444444444444}", relative_path: "parent.vhdx" });
  assert.match(await refusal(here.open("vhdx", "child.vhdx", {})), /not the parent this image was made from/);
  await makeChild(here, { parent_linkage: guid, relative_path: "elsewhere.vhdx" });
  assert.match(await refusal(here.open("vhdx", "child.vhdx", {})), /Could not open parent file: .*elsewhere\.vhdx/);
  // The second name is tried where the first leads nowhere.
  await makeChild(here, { parent_linkage: guid, relative_path: "elsewhere.vhdx", absolute_win32_path: "parent.vhdx" });
  await here.close(await here.open("vhdx", "child.vhdx", {}));
  const asked: Reference[] = [];
  (here.environment as { gate: unknown }).gate = (reference: Reference) => {
    asked.push(reference);
    return done<GateDecision>(false);
  };
  assert.match(await refusal(here.open("vhdx", "child.vhdx", {})), /was not allowed to be opened/);
  assert.is(asked[0]?.kind, "parent");
  const alone = await here.open("vhdx", "child.vhdx", { noBacking: true });
  await here.close(alone);
});

test("a block that is written becomes the image's own as a whole, whatever it was; the parent stays as it is", async () => {
  const here = world();
  const guid = await makeParent(here);
  await makeChild(here, { parent_linkage: guid, relative_path: "parent.vhdx" });
  const before = here.bytes("parent.vhdx");
  const want = expected();
  for (const [offset, length] of [
    [MiB / 2 + 100, 1000], // from the parent
    [MiB + 512, 512], // zeros
    [2 * MiB + 5, 5], // here
    [3 * MiB + 700, 2000], // partly here
  ] as const) {
    const node = await here.open("vhdx", "child.vhdx", { write: true });
    await here.run(write(node, new Uint8Array(length).fill(0x77), offset));
    want.fill(0x77, offset, offset + length);
    const seen = new Uint8Array(SIZE);
    await here.run(read(node, seen, 0));
    assert.is(Buffer.compare(seen, want), 0, `after the write at ${offset}`);
    await here.close(node);
    const again = await here.open("vhdx", "child.vhdx", {});
    await here.run(read(again, seen, 0));
    assert.is(Buffer.compare(seen, want), 0, `reopened after the write at ${offset}`);
    await here.close(again);
  }
  assert.equal(here.bytes("parent.vhdx"), before);
});

test("after a commit the image goes on naming its parent, whose data write GUID has changed", async () => {
  const here = world();
  await makeParent(here);
  await here.create("vhdx", "new.vhdx", SIZE, { backing_file: "parent.vhdx" });
  for (const fill of [0x55, 0x66]) {
    const node = await here.open("vhdx", "new.vhdx", { write: true });
    await here.run(write(node, new Uint8Array(512).fill(fill), MiB));
    await here.run(commitImage(node));
    await here.close(node);
    for (const name of ["parent.vhdx", "new.vhdx"]) {
      const again = await here.open("vhdx", name, {});
      const seen = new Uint8Array(1024);
      await here.run(read(again, seen, MiB));
      assert.equal(seen, new Uint8Array(1024).fill(fill, 0, 512).fill(0x11, 512), name);
      await here.close(again);
    }
  }
  // One that somebody else changed stays another one.
  const other = await here.open("vhdx", "parent.vhdx");
  await here.run(write(other, new Uint8Array(512).fill(1), 0));
  await here.close(other);
  assert.match(await refusal(here.open("vhdx", "new.vhdx", {})), /not the parent this image was made from/);
});

test("without its parent it cannot be written", async () => {
  const here = world();
  const guid = await makeParent(here);
  await makeChild(here, { parent_linkage: guid });
  assert.match(await refusal(here.open("vhdx", "child.vhdx", { write: true })), /only be opened read-only/);
});

test("one is made over a parent; sizes and formats that do not fit are refused", async () => {
  const here = world();
  await makeParent(here);
  await here.create("vhdx", "new.vhdx", SIZE, { backing_file: "parent.vhdx" });
  const node = await here.open("vhdx", "new.vhdx", {});
  const seen = new Uint8Array(SIZE);
  await here.run(read(node, seen, 0));
  assert.is(Buffer.compare(seen, new Uint8Array(SIZE).fill(0x11)), 0);
  assert.equal(node.impl.shape === "mapped" ? node.impl.backingFile : null, { filename: "parent.vhdx", format: "vhdx" });
  await here.close(node);
  const make = (size: number, options: Record<string, unknown>) => refusal(here.create("vhdx", "x.vhdx", size, options));
  assert.match(await make(SIZE + MiB, { backing_file: "parent.vhdx" }), /must have the size of its parent/);
  assert.match(await make(SIZE, { backing_file: "parent.vhdx", backing_fmt: "raw" }), /must be a VHDX/);
  assert.match(await make(SIZE, { backing_file: "parent.vhdx", subformat: "fixed" }), /cannot be fixed/);
});

test("one over a disk with sectors of 4096 bytes has such sectors, too", async () => {
  const here = world();
  await here.create("vhdx", "parent.vhdx", SIZE, { logical_sector_size: 4096 });
  const parent = await here.open("vhdx", "parent.vhdx");
  await here.run(write(parent, new Uint8Array(SIZE).fill(0x11), 0));
  await here.close(parent);
  await here.create("vhdx", "new.vhdx", SIZE, { backing_file: "parent.vhdx" });
  const node = await here.open("vhdx", "new.vhdx");
  await here.run(write(node, new Uint8Array(5000).fill(0x22), 2 * MiB - 1000));
  const want = new Uint8Array(SIZE).fill(0x11).fill(0x22, 2 * MiB - 1000, 2 * MiB + 4000);
  const seen = new Uint8Array(SIZE);
  await here.run(read(node, seen, 0));
  assert.is(Buffer.compare(seen, want), 0);
  await here.close(node);
  const bytes = here.bytes("new.vhdx");
  assert.is(viewOf(bytes).getUint32(METADATA + 65536 + 32, true), 4096, "its logical sectors");
  const make = (options: Record<string, unknown>) => refusal(here.create("vhdx", "x.vhdx", SIZE, options));
  assert.match(await make({ backing_file: "parent.vhdx", logical_sector_size: 512 }), /must have the sectors of its parent/);
  assert.match(await make({ logical_sector_size: 1024 }), /must be 512 or 4096/);
});

test("a damaged locator or bitmap is an error, not a guess", async () => {
  const here = world();
  const guid = await makeParent(here);
  await makeChild(here, { parent_linkage: guid, relative_path: "parent.vhdx" });
  const bytes = here.bytes("child.vhdx");
  const damaged = (change: (view: DataView) => void): void => {
    const copy = bytes.slice();
    change(viewOf(copy));
    here.files.set("child.vhdx", memoryStorage(copy, { name: "child.vhdx" }));
  };
  damaged((view) => view.setUint16(METADATA + 131072 + 18, 65535, true));
  assert.match(await refusal(here.open("vhdx", "child.vhdx", {})), /parent locator/);
  damaged((view) => view.setUint32(METADATA + 131072 + 20, 0xffffffff, true));
  assert.match(await refusal(here.open("vhdx", "child.vhdx", {})), /parent locator/);
  damaged((view) => view.setUint32(METADATA + 131072, 0, true));
  assert.match(await refusal(here.open("vhdx", "child.vhdx", {})), /not a VHDX/);
  damaged((view) => view.setUint32(BAT + 4096 * 8, 0, true));
  const node = await here.open("vhdx", "child.vhdx", {});
  assert.match(await refusal(here.run(read(node, new Uint8Array(512), 3 * MiB))), /sector bitmap/);
  await here.run(read(node, new Uint8Array(512), 2 * MiB));
  await here.close(node);
});

test.run();
