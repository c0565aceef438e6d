/** Images by QEMU 7.2 and other vendors: their content, and what qemu-img says about them (info, map, check). */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../src/base/error.js";
import type { Driver } from "../../src/block/driver.js";
import { read, write } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import { bochs } from "../../src/formats/bochs/bochs.js";
import { cloop } from "../../src/formats/cloop/cloop.js";
import { dmg } from "../../src/formats/dmg/dmg.js";
import { parallels } from "../../src/formats/parallels/parallels.js";
import { raw } from "../../src/formats/raw/raw.js";
import { vdi } from "../../src/formats/vdi/vdi.js";
import { vpc } from "../../src/formats/vpc/vpc.js";
import { checkImage } from "../../src/image/check.js";
import { imageInfo } from "../../src/image/info.js";
import { mapImage } from "../../src/image/map.js";
import { memoryStorage } from "../../src/storage/memory.js";
import type { MapEntry } from "../../src/block/types.js";
import { skip } from "../support/skip.js";
import { makeWorld, type Mode, type World } from "../support/world.js";
import { sample, unpackValid } from "./formats-data.js";

const drivers: readonly Driver[] = [raw, vdi, vpc, parallels, bochs, cloop, dmg];

export function worldWith(name: string, bytes: Uint8Array, mode: Mode = "sync"): World {
  const world = makeWorld({ mode, drivers });
  world.files.set(name, memoryStorage(bytes, { name }));
  return world;
}

async function digest(world: World, node: Node, start: number, length: number): Promise<string> {
  const hash = createHash("sha256");
  for (let at = start; at < start + length;) {
    const part = new Uint8Array(Math.min(4 << 20, start + length - at));
    await world.run(read(node, part, at));
    hash.update(part);
    at += part.length;
  }
  return hash.digest("hex");
}

const valid = unpackValid();
if (valid === null) test("valid images", () => skip("the outside images are not there"));
else {
  for (const entry of valid.entries) {
    for (const mode of ["sync", "async"] as const) {
      test(`${entry.id}: content (${mode})`, async () => {
        const world = worldWith(entry.file, readFileSync(join(valid.dir, entry.id, entry.file)), mode);
        const probed = await world.open(null, entry.file, {});
        assert.is(probed.driver.name, entry.probed_format);
        await world.close(probed);
        const node = await world.open(entry.format, entry.file, {});
        assert.is(node.size, entry.virtual_size);
        if (entry.sha256 !== undefined) assert.is(await digest(world, node, 0, node.size), entry.sha256);
        for (const [start, length, sha256] of entry.extents)
          assert.is(await digest(world, node, start, length), sha256, `extent at ${start}`);
        assert.equal(world.warnings, []);
        await world.close(node);
      });
    }
    test(`${entry.id}: info, map, check`, async () => {
      const world = worldWith(entry.file, readFileSync(join(valid.dir, entry.id, entry.file)));
      const node = await world.open(entry.format, entry.file, {});
      const info = (await world.run(imageInfo(node))) as unknown as Record<string, unknown>;
      delete info["actual-size"];
      assert.equal(info, entry.info);
      const map: MapEntry[] = [];
      await world.run(
        mapImage(
          node,
          ({ start, length, depth, present, zero, data, offset }) =>
            void map.push({ start, length, depth, present, zero, data, ...(offset === undefined ? {} : { offset }) }),
        ),
      );
      // Which parts of a preallocated file are holes depends on the file system.
      if (!entry.id.endsWith("static") && !entry.id.endsWith("fixed")) assert.equal(map, entry.map);
      if (entry.check.json === null) {
        try {
          await world.run(checkImage(node));
          assert.unreachable("check of a format without checks");
        } catch (error) {
          assert.instance(error, BlockError);
          assert.is((error as BlockError).errno, "ENOTSUP");
        }
      } else {
        const found = (await world.run(checkImage(node))) as unknown as Record<string, unknown>;
        delete found["filename"];
        const { filename: _, ...expected } = entry.check.json;
        assert.equal(found, expected);
      }
      await world.close(node);
    });
  }
}

interface Sample {
  name: string;
  driver: string;
  size: number;
  sha256?: string;
  error?: RegExp;
}
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
];
for (const { name, driver, size, sha256, error } of samples) {
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
    if (sha256 !== undefined) assert.is(await digest(world, node, 0, size), sha256);
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

test.run();
