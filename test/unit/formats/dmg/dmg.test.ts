import { deflateSync } from "node:zlib";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../../src/base/error.js";
import { viewOf, writeU64BE } from "../../../../src/base/bytes.js";
import { read } from "../../../../src/block/io.js";
import { dmg } from "../../../../src/formats/dmg/dmg.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { makeWorld } from "../../../support/world.js";

interface Part {
  type: number;
  sector: number;
  sectors: number;
  bytes: Uint8Array;
  /** Claimed instead of the real ones. */
  packed?: number;
  host?: number;
}

/** A DMG as Apple's tools lay it out: data fork, property list with one block table, trailer. */
function makeDmg(parts: readonly Part[], sectors: number): Uint8Array {
  const data = Buffer.concat(parts.map((part) => part.bytes));
  const table = new Uint8Array(204 + 40 * (parts.length + 1));
  const view = viewOf(table);
  table.set(new TextEncoder().encode("mish"));
  view.setUint32(4, 1);
  writeU64BE(view, 16, sectors);
  view.setUint32(200, parts.length + 1);
  let host = 0;
  parts.forEach((part, i) => {
    const at = 204 + 40 * i;
    view.setUint32(at, part.type);
    writeU64BE(view, at + 8, part.sector);
    writeU64BE(view, at + 16, part.sectors);
    writeU64BE(view, at + 24, part.host ?? host);
    writeU64BE(view, at + 32, part.packed ?? part.bytes.length);
    host += part.bytes.length;
  });
  view.setUint32(204 + 40 * parts.length, 0xffffffff);
  const list = Buffer.from(
    `<plist><dict><key>blkx</key><array><dict><key>Data</key><data>\n${Buffer.from(table).toString("base64")}\n</data></dict></array></dict></plist>`,
  );
  const trailer = new Uint8Array(512);
  const end = viewOf(trailer);
  trailer.set(new TextEncoder().encode("koly"));
  writeU64BE(end, 0x20, data.length);
  writeU64BE(end, 0xd8, data.length);
  writeU64BE(end, 0xe0, list.length);
  writeU64BE(end, 0x1ec, sectors);
  return Buffer.concat([data, list, trailer]);
}

function pattern(sectors: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: sectors * 512 }, (_, i) => (i * seed + (i >> 9)) & 0xff);
}

async function open(bytes: Uint8Array): Promise<{ size: number; content: Uint8Array }> {
  const world = makeWorld({ mode: "sync", drivers: [raw, dmg] });
  world.files.set("x.dmg", memoryStorage(bytes, { name: "x.dmg" }));
  const node = await world.open(null, "x.dmg", {});
  assert.is(node.driver.name, "dmg");
  const content = new Uint8Array(node.size);
  for (let at = 0; at < content.length; at += 700)
    await world.run(read(node, content.subarray(at, Math.min(at + 700, content.length)), at));
  const size = node.size;
  await world.close(node);
  return { size, content };
}

test("raw, zero, ignored and zlib chunks", async () => {
  const first = pattern(3, 7);
  const second = pattern(4, 11);
  const bytes = makeDmg(
    [
      { type: 1, sector: 0, sectors: 3, bytes: first },
      { type: 0, sector: 3, sectors: 2, bytes: new Uint8Array(0) },
      { type: 0x80000005, sector: 5, sectors: 4, bytes: deflateSync(second) },
      { type: 2, sector: 9, sectors: 3, bytes: new Uint8Array(0) },
      { type: 1, sector: 12, sectors: 3, bytes: first },
      { type: 0, sector: 15, sectors: 5, bytes: new Uint8Array(0) },
    ],
    20,
  );
  const { size, content } = await open(bytes);
  assert.is(size, 20 * 512);
  const expected = new Uint8Array(20 * 512);
  expected.set(first, 0);
  expected.set(second, 5 * 512);
  expected.set(first, 12 * 512);
  assert.ok(Buffer.compare(content, expected) === 0);
});

const damaged: [string, readonly Part[], RegExp][] = [
  [
    "a raw chunk that is shorter than its sectors",
    [{ type: 1, sector: 0, sectors: 4, bytes: pattern(2, 3) }],
    /stored raw but has 1024 of 2048/,
  ],
  [
    "data behind the end of the file",
    [{ type: 0x80000005, sector: 0, sectors: 4, bytes: pattern(1, 3), host: 1e9 }],
    /outside of the file/,
  ],
  [
    "a chunk that would need too much memory",
    [{ type: 0x80000005, sector: 0, sectors: 2 ** 40, bytes: pattern(1, 3) }],
    /larger than/,
  ],
  ["a gap", [{ type: 1, sector: 0, sectors: 2, bytes: pattern(2, 3) }], /no chunk holds byte 1024 of the disk/],
  [
    "an unknown chunk type",
    [{ type: 0x80000042, sector: 0, sectors: 2, bytes: pattern(2, 3) }],
    /chunk 0 is of unknown type 0x80000042/,
  ],
  ["a damaged stream", [{ type: 0x80000005, sector: 0, sectors: 2, bytes: pattern(2, 3) }], /chunk 0 \(zlib\) at offset 0/],
];
for (const [what, parts, message] of damaged) {
  test(`refused: ${what}`, async () => {
    try {
      await open(makeDmg(parts, 20));
      assert.unreachable("it was read");
    } catch (error) {
      assert.instance(error, BlockError);
      assert.match((error as Error).message, message);
    }
  });
}

test.run();
