/** The VHDX log: entries as MS-VHDX has them, the active sequence, hostile entries, bounded work. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { viewOf, writeU64LE } from "../../../../src/base/bytes.js";
import { read, write } from "../../../../src/block/io.js";
import { setWritable } from "../../../../src/block/reopen.js";
import { randomGuid } from "../../../../src/codec/guid.js";
import { setChecksum } from "../../../../src/formats/vhdx/checksum.js";
import { encodeHeader, parseHeader } from "../../../../src/formats/vhdx/headers.js";
import { encodeEntry } from "../../../../src/formats/vhdx/log-entry.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { vhdx } from "../../../../src/formats/vhdx/vhdx.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { makeWorld, type World } from "../../../support/world.js";

const MiB = 1048576;
const LOG = MiB;
const BAT = 2 * MiB;
const SECTOR = 4096;

interface Made {
  world: World;
  bytes: Uint8Array;
  guid: Uint8Array;
  /** Puts `bytes` where the world opens them. */
  put(): void;
}

/** An image of 4 blocks of 1 MiB, with space for two of them, and a log GUID in its headers. */
async function make(): Promise<Made> {
  const world = makeWorld({ mode: "sync", drivers: [raw, vhdx] });
  await world.create("vhdx", "image", 4 * MiB, { block_size: MiB, block_state_zero: false });
  const bytes = new Uint8Array(10 * MiB);
  bytes.set(world.bytes("image"));
  bytes.fill(0x77, 8 * MiB, 9 * MiB);
  bytes.fill(0x88, 9 * MiB, 10 * MiB);
  const guid = randomGuid();
  for (const at of [65536, 131072])
    bytes.set(encodeHeader({ ...parseHeader(bytes.subarray(at, at + 4096))!, logGuid: guid }), at);
  return { world, bytes, guid, put: () => void world.files.set("image", memoryStorage(bytes.slice(), { name: "image" })) };
}

/** The first sector of a table whose blocks have the given places (in MiB). */
function table(...places: number[]): Uint8Array {
  const sector = new Uint8Array(SECTOR);
  const view = viewOf(sector);
  places.forEach((place, i) => view.setUint32(i * 8, place === 0 ? 0 : 6 + place * MiB, true));
  return sector;
}

async function firstBytes(world: World, writable = false): Promise<number[]> {
  const node = await world.open("vhdx", "image", { write: writable });
  const seen: number[] = [];
  for (let block = 0; block < 4; block++) {
    const byte = new Uint8Array(1);
    await world.run(read(node, byte, block * MiB));
    seen.push(byte[0]!);
  }
  await world.close(node);
  return seen;
}

async function refused(world: World): Promise<string> {
  try {
    await world.close(await world.open("vhdx", "image", {}));
  } catch (error) {
    return (error as Error).message;
  }
  assert.unreachable("it opened");
  return "";
}

/** An entry that stands alone, with a table for the image. */
function oneEntry(logGuid: Uint8Array, fileSize: number): Uint8Array {
  return encodeEntry({ logGuid, tail: 0, sequence: 5, fileSize, sectors: [{ offset: BAT, bytes: table(8, 0, 9) }] });
}

test("one entry is replayed, in memory and in the file", async () => {
  const { world, bytes, guid, put } = await make();
  bytes.set(oneEntry(guid, bytes.length), LOG);
  put();
  assert.equal(await firstBytes(world), [0x77, 0, 0x88, 0]);
  assert.equal(await firstBytes(world, true), [0x77, 0, 0x88, 0]);
  // Now the log is empty, and the table is in its place.
  const after = world.bytes("image");
  assert.equal(after.subarray(BAT, BAT + SECTOR), table(8, 0, 9));
  assert.ok(parseHeader(after.subarray(65536, 65536 + 4096))!.logGuid.every((byte) => byte === 0));
  assert.equal(await firstBytes(world), [0x77, 0, 0x88, 0]);
});

test("an image that becomes writable while it is open gets its log replayed into the file first", async () => {
  const { world, bytes, guid, put } = await make();
  bytes.set(oneEntry(guid, bytes.length), LOG);
  put();
  const node = await world.open("vhdx", "image", {});
  await world.run(setWritable(node, true));
  assert.equal(world.bytes("image").subarray(BAT, BAT + SECTOR), table(8, 0, 9));
  await world.run(write(node, new Uint8Array(MiB).fill(0x99), MiB));
  await world.run(setWritable(node, false));
  // Read-only again, its log is empty.
  assert.ok(parseHeader(world.bytes("image").subarray(65536, 65536 + 4096))!.logGuid.every((byte) => byte === 0));
  await world.close(node);
  assert.equal(await firstBytes(world), [0x77, 0x99, 0x88, 0]);
});

test("of several sequences the newest whose tail fits counts, from its tail to its head", async () => {
  const { world, bytes, guid, put } = await make();
  const entry = (at: number, tail: number, sequence: number, ...places: number[]): void =>
    bytes.set(
      encodeEntry({ logGuid: guid, tail, sequence, fileSize: bytes.length, sectors: [{ offset: BAT, bytes: table(...places) }] }),
      LOG + at,
    );
  entry(0, 0, 5, 9, 9, 9);
  // Two entries that belong together: the later one wins.
  entry(40960, 40960, 9, 9, 0, 0);
  entry(40960 + 8192, 40960, 10, 8, 0, 9);
  // Newer, but its tail points to what is not there.
  entry(409600, 0, 20, 9, 9, 9, 9);
  put();
  assert.equal(await firstBytes(world), [0x77, 0, 0x88, 0]);
});

test("a sequence goes around the end of the log", async () => {
  const { world, bytes, guid, put } = await make();
  const first = encodeEntry({
    logGuid: guid,
    tail: MiB - SECTOR,
    sequence: 3,
    fileSize: bytes.length,
    sectors: [{ offset: BAT, bytes: table(9) }],
  });
  bytes.set(first.subarray(0, SECTOR), LOG + MiB - SECTOR);
  bytes.set(first.subarray(SECTOR), LOG);
  bytes.set(
    encodeEntry({
      logGuid: guid,
      tail: MiB - SECTOR,
      sequence: 4,
      fileSize: bytes.length,
      sectors: [{ offset: BAT, bytes: table(8, 9) }],
    }),
    LOG + SECTOR,
  );
  put();
  assert.equal(await firstBytes(world), [0x77, 0x88, 0, 0]);
});

test("an entry with a bad checksum, another GUID or sequence 0 is none", async () => {
  for (const spoil of [
    (made: Uint8Array): void => void (made[5]! ^= 1),
    (made: Uint8Array): void => (made.set(randomGuid(), 32), setChecksum(made)),
    (made: Uint8Array): void => (made.fill(0, 16, 24), setChecksum(made)),
  ]) {
    const { world, bytes, guid, put } = await make();
    const made = encodeEntry({
      logGuid: guid,
      tail: 0,
      sequence: 5,
      fileSize: bytes.length,
      sectors: [{ offset: BAT, bytes: table(8) }],
    });
    spoil(made);
    bytes.set(made, LOG);
    put();
    assert.equal(await firstBytes(world), [0, 0, 0, 0]);
  }
});

test("changes of what is none of the log's business are refused: header, log, behind the file", async () => {
  for (const offset of [0, 65536, LOG, LOG + SECTOR, 10 * MiB, 2 ** 40, 2 ** 52]) {
    const { world, bytes, guid, put } = await make();
    bytes.set(
      encodeEntry({ logGuid: guid, tail: 0, sequence: 5, fileSize: bytes.length, sectors: [{ offset, bytes: table(8) }] }),
      LOG,
    );
    put();
    assert.match(await refused(world), /log is corrupt/);
  }
});

/** An entry with one descriptor of zeros. */
function zeroEntry(guid: Uint8Array, fileSize: number, lastSize: number, offset: number, length: number): Uint8Array {
  const made = encodeEntry({ logGuid: guid, tail: 0, sequence: 5, fileSize, sectors: [] });
  const view = viewOf(made);
  view.setUint32(24, 1, true);
  writeU64LE(view, 56, lastSize);
  for (let i = 0; i < 4; i++) made[64 + i] = "zero".charCodeAt(i);
  writeU64LE(view, 72, length);
  writeU64LE(view, 80, offset);
  writeU64LE(view, 88, 5);
  setChecksum(made);
  return made;
}

test("zeros are replayed; claims beyond the file are refused at once", async () => {
  const { world, bytes, guid, put } = await make();
  bytes.set(table(8, 9), BAT);
  bytes.set(zeroEntry(guid, bytes.length, bytes.length, 8 * MiB, MiB), LOG);
  put();
  assert.equal(await firstBytes(world), [0, 0x88, 0, 0]);
  assert.equal(await firstBytes(world, true), [0, 0x88, 0, 0]);
  const began = Date.now();
  for (const [lastSize, length] of [
    [bytes.length, 2 ** 32],
    [bytes.length, 2 ** 40],
    [bytes.length, 2 ** 52],
    [2 ** 50, 2 ** 49],
    [512, MiB],
  ] as const) {
    bytes.set(zeroEntry(guid, bytes.length, lastSize, 8 * MiB, length), LOG);
    put();
    assert.match(await refused(world), /log/);
  }
  assert.ok(Date.now() - began < 1000);
});

test("a file that is shorter than its log knows it was truncated", async () => {
  const { world, bytes, guid, put } = await make();
  bytes.set(
    encodeEntry({
      logGuid: guid,
      tail: 0,
      sequence: 5,
      fileSize: bytes.length + MiB,
      sectors: [{ offset: BAT, bytes: table(8) }],
    }),
    LOG,
  );
  put();
  assert.match(await refused(world), /truncated/);
});

test("a log full of entries, each of them whole, is looked through in linear time", async () => {
  const { world, bytes, guid, put } = await make();
  for (let i = 0; i < 128; i++) {
    bytes.set(
      encodeEntry({
        logGuid: guid,
        tail: 4096,
        sequence: 100 + i,
        fileSize: bytes.length,
        sectors: [{ offset: BAT, bytes: table(8) }],
      }),
      LOG + i * 8192,
    );
  }
  put();
  const began = Date.now();
  assert.match(await refused(world), /no complete sequence/);
  assert.ok(Date.now() - began < 1000);
});

test("sizes and blocks that cannot be are refused", async () => {
  const { world, bytes, put } = await make();
  const metadata = 3 * MiB + 65536;
  const view = viewOf(bytes);
  for (const size of [64 * 2 ** 40 + 512, 2 ** 52 + 25 * MiB, 2 ** 52]) {
    writeU64LE(view, metadata + 8, size);
    put();
    assert.match(await refused(world), /larger than 64 TB/);
  }
  writeU64LE(view, metadata + 8, 2 ** 40);
  put();
  assert.match(await refused(world), /too few for/);
});

test("4 KiB logical sectors change where the sector bitmaps' entries are", async () => {
  const { world, bytes, put } = await make();
  const metadata = 3 * MiB + 65536;
  viewOf(bytes).setUint32(metadata + 32, 4096, true);
  bytes.set(table(8, 9), BAT);
  put();
  assert.equal(await firstBytes(world), [0x77, 0x88, 0, 0]);
});

test.run();
