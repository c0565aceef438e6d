/** Samples by QEMU's own tests and other vendors: their size and content, and what only they show. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { allFormats } from "../../src/platform/all-formats.js";
import { read, write } from "../../src/block/io.js";
import { checkImage } from "../../src/image/check.js";
import { memoryStorage } from "../../src/storage/memory.js";
import { sparseDigest } from "../support/digest.js";
import { skip } from "../support/skip.js";
import { makeWorld, type World } from "../support/world.js";
import { sample } from "./outside-data.js";

function worldWith(name: string, bytes: Uint8Array): World {
  const world = makeWorld({ mode: "sync", drivers: allFormats });
  world.files.set(name, memoryStorage(bytes, { name }));
  return world;
}

interface Sample {
  name: string;
  driver: string;
  size: number;
  /** Of the first `part` bytes, or of all. */
  sha256?: string;
  part?: number;
  error?: RegExp;
}
const GiB = 2 ** 30;
const samples: Sample[] = [
  {
    name: "empty.bochs",
    driver: "bochs",
    size: 1032192,
    sha256: "85e614bc2ef17bec493b849dbeea34687ba52d7b1fedc4e5fc3729b0fb059aad",
  },
  {
    name: "simple-pattern.cloop",
    driver: "cloop",
    size: 1048576,
    sha256: "7c77af2771e0f86b7ec9707374c7416037fedae45cb0e6e27fbdf55688a5dd12",
  },
  {
    name: "simple-dmg.dmg",
    driver: "dmg",
    size: 1799168,
    sha256: "20647e0a98a830a6a250b91e0e6d7200a872caea07b87a3c19611f3dd031c9df",
  },
  {
    name: "parallels-v1",
    driver: "parallels",
    size: 2097152,
    sha256: "15faf41ebc93b5f734341cb7a2d909001e3f7306960f9d8bc63894f2a8e5bc45",
  },
  {
    name: "parallels-v2",
    driver: "parallels",
    size: 2097152,
    sha256: "15faf41ebc93b5f734341cb7a2d909001e3f7306960f9d8bc63894f2a8e5bc45",
  },
  { name: "parallels-with-bitmap", driver: "parallels", size: 68719476736 },
  { name: "virtualpc-dynamic.vhd", driver: "vpc", size: 136363130880 },
  { name: "hyperv2012r2-dynamic.vhd", driver: "vpc", size: 136365211648 },
  { name: "d2v-zerofilled.vhd", driver: "vpc", size: 263454720 },
  { name: "afl5.img", driver: "vpc", size: 0, error: /Max Table Entries too large/ },
  { name: "iotest-version3.vmdk", driver: "vmdk", size: 17179869184 },
  { name: "afl9.vmdk", driver: "vmdk", size: 0, error: /L1 size too big/ },
  {
    name: "iotest-dynamic-1G.vhdx",
    driver: "vhdx",
    size: GiB,
    sha256: "d3d112d8dab7fd360609f7d5a7b769904b7a2a7d7b6b8c535f65a23293c05478",
  },
  {
    name: "test-disk2vhd.vhdx",
    driver: "vhdx",
    size: 268435456,
    sha256: "96d964042be9b58dda1725567abfb0cf9fd8380e2118754afa979c2ad445938a",
  },
  {
    name: "iotest-dirtylog-10G-4M.vhdx",
    driver: "vhdx",
    size: 10 * GiB,
    part: GiB,
    sha256: "b364a793e6bfb48331faa6255d515aafbbda72f5e734dd02e22af2fe8b1b8fce",
  },
];
for (const { name, driver, size, sha256, part, error } of samples) {
  test(`sample ${name}`, async () => {
    const bytes = sample(name);
    if (bytes === null) return skip("the sample images are not there");
    const world = worldWith(name, bytes);
    if (error !== undefined) {
      try {
        await world.open(driver, name, {});
        assert.unreachable("a damaged image opened");
      } catch (thrown) {
        assert.match((thrown as Error).message, error);
      }
      return;
    }
    const node = await world.open(null, name, {});
    assert.is(node.driver.name, driver);
    assert.is(node.size, size);
    if (sha256 !== undefined) assert.is(await sparseDigest(world, node, part ?? size), sha256);
    if (name === "iotest-version3.vmdk") {
      // As QEMU's test 059 has it: byte 0x30 + i % 10 in 512 bytes at i times 640 KiB + 512.
      for (let i = 0; i < 100; i++) {
        const bytes = new Uint8Array(512);
        await world.run(read(node, bytes, i * (640 * 1024 + 512)));
        assert.ok(
          bytes.every((byte) => byte === 0x30 + (i % 10)),
          `pattern ${i}`,
        );
      }
    }
    await world.close(node);
  });
}

test("force_size_calc decides how the size of a VHD is found", async () => {
  const expected: [string, Record<string, number>][] = [
    ["virtualpc-dynamic.vhd", { auto: 136363130880, chs: 136363130880, current_size: 136365211648 }],
    ["hyperv2012r2-dynamic.vhd", { auto: 136365211648, chs: 136363130880, current_size: 136365211648 }],
    ["d2v-zerofilled.vhd", { auto: 263454720, chs: 263454720, current_size: 263454720 }],
  ];
  for (const [name, sizes] of expected) {
    const bytes = sample(name);
    if (bytes === null) return skip("the sample images are not there");
    for (const [calc, size] of Object.entries(sizes)) {
      const world = worldWith(name, bytes);
      const node = await world.open("vpc", name, {}, { force_size_calc: calc });
      assert.is(node.size, size, `${name} ${calc}`);
      await world.close(node);
    }
  }
});

test("the dirty bitmap of a Parallels image can be read", async () => {
  const bytes = sample("parallels-with-bitmap");
  if (bytes === null) return skip("the sample images are not there");
  const world = worldWith("image", bytes);
  const node = await world.open("parallels", "image", {});
  assert.is(node.bitmaps.length, 1);
  const bitmap = node.bitmaps[0]!;
  const dirty = [...(await world.run(bitmap.load())).runs()].map(({ offset, length }) => [offset, length]);
  // What QEMU's own test reads from it over NBD.
  assert.is(bitmap.name, "e4f2eed0-37fe-4539-b50b-85d2e7fd235f");
  assert.is(bitmap.granularity, 65536);
  assert.equal(dirty, [
    [327680, 131072],
    [655360, 196608],
    [1966080, 65536],
  ]);
  await world.close(node);
  // A writer ignores the extension, but not the space it takes.
  const writing = await world.open("parallels", "image");
  assert.is(writing.bitmaps.length, 0);
  assert.equal(world.warnings, ["Format Extension ignored in RW mode"]);
  await world.run(write(writing, new Uint8Array(4 << 20).fill(1), 0));
  await world.close(writing);
  const again = await world.open("parallels", "image", {});
  assert.is(again.bitmaps.length, 1);
  assert.is([...(await world.run(again.bitmaps[0]!.load())).runs()].length, 3);
  await world.close(again);
});

test("a dirty VHDX log is replayed in memory, the file is not touched; opened for writing, in the file", async () => {
  const name = "iotest-dirtylog-10G-4M.vhdx";
  const bytes = sample(name);
  if (bytes === null) return skip("the sample images are not there");
  const world = worldWith(name, bytes);
  const want = new Uint8Array(18 << 20).fill(0xa5);
  const seen = new Uint8Array(18 << 20);
  const readOnly = await world.open("vhdx", name, {});
  await world.run(read(readOnly, seen, 0));
  assert.is(Buffer.compare(seen, want), 0);
  await world.close(readOnly);
  assert.is(Buffer.compare(world.bytes(name), bytes), 0, "the file");
  const node = await world.open("vhdx", name, { write: true, check: true });
  const found = await world.run(checkImage(node, { fix: "all" }));
  assert.is(found["corruptions-fixed"], 1);
  await world.close(node);
  const again = await world.open("vhdx", name, {});
  assert.is((await world.run(checkImage(again)))["corruptions-fixed"], undefined);
  seen.fill(0);
  await world.run(read(again, seen, 0));
  assert.is(Buffer.compare(seen, want), 0);
  await world.close(again);
});

test.run();
