import { deflateSync } from "node:zlib";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../../src/base/error.js";
import { read } from "../../../../src/block/io.js";
import { dmg } from "../../../../src/formats/dmg/dmg.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { makeDmg, type DmgPart } from "../../../support/foreign-images.js";
import { makeWorld } from "../../../support/world.js";

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

const damaged: [string, readonly DmgPart[], RegExp][] = [
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
