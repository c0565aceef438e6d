/** Apple sparse images as the public descriptions have them, made by a generator: no image of Apple's was at hand. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { read } from "../../../../src/block/io.js";
import { asif } from "../../../../src/formats/asif/asif.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { random } from "../../../support/random.js";
import { makeWorld, MODES, type Mode, type World } from "../../../support/world.js";

const SECTOR = 512;
const CHUNK = 1 << 20;
const GROUP = 4 * SECTOR;
const GROUPS = Math.floor(CHUNK / (8 * (GROUP + 1)));
const SPAN = GROUPS * GROUP * CHUNK;
const WHOLE = 1n << 62n;
const PARTIAL = 3n << 62n;

type Content = "whole" | "partial";
interface Made {
  bytes: Uint8Array;
  expected(offset: number, length: number): Uint8Array;
}

/** @param chunks guest chunks that are there; @param size in bytes */
function makeImage(size: number, chunks: Map<number, Content>, change: (view: DataView) => void = () => {}): Made {
  const max = 4 * SPAN;
  const chance = random(3);
  const parts: Uint8Array[] = [new Uint8Array(CHUNK)];
  const add = (): [number, Uint8Array] => [parts.length, parts[parts.push(new Uint8Array(CHUNK)) - 1]!];
  const data = new Map<number, Uint8Array>();
  const tables = new Map<number, [number, Uint8Array]>();
  const bitmaps = new Map<number, [number, Uint8Array]>();
  for (const [chunk, kind] of chunks) {
    const perTable = SPAN / CHUNK;
    const index = Math.floor(chunk / perTable);
    if (!tables.has(index)) tables.set(index, add());
    const table = new DataView(tables.get(index)![1].buffer);
    const inTable = chunk % perTable;
    const group = Math.floor(inTable / GROUP);
    const [number, bytes] = add();
    bytes.set(chance.bytes(CHUNK));
    table.setBigUint64((inTable + group) * 8, BigInt(number) | (kind === "whole" ? WHOLE : PARTIAL));
    const seen = bytes.slice();
    if (kind === "partial") {
      const key = index * GROUPS + group;
      if (!bitmaps.has(key)) bitmaps.set(key, add());
      const [place, bits] = bitmaps.get(key)!;
      table.setBigUint64(((group + 1) * (GROUP + 1) - 1) * 8, BigInt(place));
      for (let sector = 0; sector < CHUNK / SECTOR; sector++) {
        const bit = (inTable % GROUP) * (CHUNK / SECTOR) + sector;
        if (chance.chance(0.5)) bits[bit >> 2]! |= 1 << ((bit & 3) * 2);
        else seen.fill(0, sector * SECTOR, (sector + 1) * SECTOR);
      }
    }
    data.set(chunk, seen);
  }
  const view = new DataView(parts[0]!.buffer);
  parts[0]!.set(new TextEncoder().encode("shdw"));
  view.setUint32(4, 1);
  view.setUint32(8, 512);
  // The second directory is the newer one.
  for (const [at, offset, sequence] of [
    [16, 512, 1n],
    [24, 1024, 2n],
  ] as const) {
    view.setBigUint64(at, BigInt(offset));
    view.setBigUint64(offset, sequence);
  }
  for (const [index, [number]] of tables) view.setBigUint64(1024 + 8 + index * 8, BigInt(number));
  view.setBigUint64(48, BigInt(size / SECTOR));
  view.setBigUint64(56, BigInt(max / SECTOR));
  view.setUint32(64, CHUNK);
  view.setUint16(68, SECTOR);
  change(view);
  return {
    bytes: Buffer.concat(parts),
    expected(offset, length) {
      const out = new Uint8Array(length);
      for (let at = 0; at < length;) {
        const chunk = Math.floor((offset + at) / CHUNK);
        const inChunk = (offset + at) % CHUNK;
        const n = Math.min(length - at, CHUNK - inChunk);
        const bytes = data.get(chunk);
        if (bytes !== undefined) out.set(bytes.subarray(inChunk, inChunk + n), at);
        at += n;
      }
      return out;
    },
  };
}

const world = (bytes: Uint8Array, mode: Mode = "sync"): World => {
  const made = makeWorld({ mode, drivers: [raw, asif] });
  made.files.set("image", memoryStorage(bytes));
  return made;
};
const failure = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "no error",
    (error: Error) => error.message,
  );

for (const mode of MODES) {
  test(`whole chunks, parts of chunks and nothing, across groups and tables (${mode})`, async () => {
    const last = SPAN / CHUNK;
    const size = SPAN + 5 * CHUNK + 3 * SECTOR;
    const image = makeImage(
      size,
      new Map<number, Content>([
        [0, "whole"],
        [1, "partial"],
        [2, "partial"],
        [GROUP - 1, "partial"],
        [GROUP, "whole"],
        [GROUP + 7, "partial"],
        [last - 1, "partial"],
        [last, "whole"],
        [last + 5, "partial"],
      ]),
    );
    const on = world(image.bytes, mode);
    const node = await on.open(null, "image", {});
    assert.is(node.driver.name, "asif");
    assert.is(node.size, size);
    for (const [offset, length] of [
      [0, 4 * CHUNK],
      [CHUNK + 100, 5000],
      [(GROUP - 1) * CHUNK, 3 * CHUNK],
      [(GROUP + 7) * CHUNK - 5, CHUNK + 10],
      [(last - 1) * CHUNK - 77, 3 * CHUNK],
      [size - CHUNK, CHUNK],
      [size - 1, 1],
    ] as const) {
      const into = new Uint8Array(length).fill(0xee);
      await on.run(read(node, into, offset));
      assert.is(Buffer.compare(into, image.expected(offset, length)), 0, `${offset}+${length}`);
    }
    await on.close(node);
  });
}

test("what is not known is refused, not guessed", async () => {
  const one = new Map<number, Content>([[0, "partial"]]);
  const cases: [RegExp, (view: DataView) => void][] = [
    [/Unsupported ASIF version 2/, (view) => view.setUint32(4, 2)],
    [/Invalid ASIF chunk size 3/, (view) => view.setUint32(64, 3)],
    [/Invalid ASIF chunk size 2147483648/, (view) => view.setUint32(64, 2 ** 31)],
    [/Invalid ASIF sector size 0/, (view) => view.setUint16(68, 0)],
    [/Invalid ASIF image size/, (view) => view.setBigUint64(48, 1n << 60n)],
    [/Invalid ASIF image size/, (view) => view.setBigUint64(56, (1n << 64n) - 1n)],
    [/has no directory/, (view) => (view.setBigUint64(16, 1n << 50n), view.setBigUint64(24, 0n))],
    [/table 0 is not in the file/, (view) => view.setBigUint64(1032, 99n)],
    [/table 0 is not in the file/, (view) => view.setBigUint64(1032, 1n << 60n)],
  ];
  for (const [message, change] of cases) {
    const on = world(makeImage(3 * CHUNK, one, change).bytes);
    assert.match(await failure(on.open("asif", "image", {})), message);
  }
  const entries: [RegExp, bigint][] = [
    [/a chunk of state 2 is not known/, (2n << 62n) | 2n],
    [/a chunk of state 0 is not known/, 2n],
    [/an entry with reserved bits/, WHOLE | (1n << 56n) | 2n],
    [/chunk 77 is not in the file/, WHOLE | 77n],
    [/chunk 0 is not in the file/, WHOLE],
  ];
  for (const [message, entry] of entries) {
    const { bytes } = makeImage(3 * CHUNK, one);
    new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(CHUNK, entry);
    const on = world(bytes);
    const node = await on.open("asif", "image", {});
    assert.match(await failure(on.run(read(node, new Uint8Array(512), 0))), message);
  }
  const { bytes } = makeImage(3 * CHUNK, one);
  bytes[3 * CHUNK] = 0b10;
  const on = world(bytes);
  const node = await on.open("asif", "image", {});
  assert.match(await failure(on.run(read(node, new Uint8Array(512), 0))), /a sector of state 2 is not known/);
  assert.match(await failure(on.open("asif", "image", { write: true })), /Image is read-only/);
});

test.run();
