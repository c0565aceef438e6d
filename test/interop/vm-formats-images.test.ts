/** VMDK and VHDX images by QEMU 7.2 and other vendors: their content, and what qemu-img says about them (info, map, check). */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { read } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import { blockStatus } from "../../src/block/status.js";
import type { MapEntry } from "../../src/block/types.js";
import { checkImage } from "../../src/image/check.js";
import { imageInfo } from "../../src/image/info.js";
import { mapImage } from "../../src/image/map.js";
import { memoryStorage } from "../../src/storage/memory.js";
import { skip } from "../support/skip.js";
import { makeWorld, type World } from "../support/world.js";
import { drivers, sample, unpackValid, worldOfFolder } from "./vm-formats-data.js";

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

/** The digest of a large sparse disk: what the map says is zero is not read. */
async function sparseDigest(world: World, node: Node, length: number): Promise<string> {
  const hash = createHash("sha256");
  const zeros = new Uint8Array(4 << 20);
  for (let at = 0; at < length;) {
    const status = await world.run(blockStatus(node, at, length - at));
    const part = Math.min(status.length, zeros.length);
    const bytes = new Uint8Array(status.zero ? 0 : part);
    if (!status.zero) await world.run(read(node, bytes, at));
    hash.update(status.zero ? zeros.subarray(0, part) : bytes);
    at += part;
  }
  return hash.digest("hex");
}

const valid = unpackValid();
if (valid === null) test("valid images", () => skip("the outside images are not there"));
else {
  for (const entry of valid.entries) {
    for (const mode of ["sync", "async"] as const) {
      test(`${entry.id}: content (${mode})`, async () => {
        const world = worldOfFolder(join(valid.dir, entry.id), mode);
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
      const world = worldOfFolder(join(valid.dir, entry.id));
      const node = await world.open(entry.format, entry.file, {});
      const info = (await world.run(imageInfo(node))) as unknown as Record<string, unknown>;
      delete info["actual-size"];
      assert.equal(info, entry.info);
      const map: MapEntry[] = [];
      await world.run(mapImage(node, ({ filename: _filename, ...found }) => void map.push(found)));
      // QEMU takes a VHDX for one run of data; we know better. Holes of flat files depend on the file system.
      if (entry.format === "vmdk" && !entry.id.includes("Flat")) assert.equal(map, entry.map);
      let end = 0;
      for (const { start, length } of map) {
        assert.is(start, end);
        end += length;
      }
      assert.is(end, node.size);
      const found = (await world.run(checkImage(node))) as unknown as Record<string, unknown>;
      delete found["filename"];
      const { filename: _, ...expected } = entry.check.json!;
      assert.equal(found, expected);
      await world.close(node);
    });
  }
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
    const world = makeWorld({ mode: "sync", drivers });
    world.files.set(name, memoryStorage(bytes, { name }));
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

test("a dirty VHDX log is replayed in memory, the file is not touched; opened for writing, in the file", async () => {
  const name = "iotest-dirtylog-10G-4M.vhdx";
  const bytes = sample(name);
  if (bytes === null) return skip("the sample images are not there");
  const world = makeWorld({ mode: "sync", drivers });
  world.files.set(name, memoryStorage(bytes, { name }));
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
