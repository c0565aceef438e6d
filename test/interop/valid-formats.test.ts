/**
 * Images by QEMU 7.2 of every format that is neither raw, plain qcow2 (see valid-images) nor encrypted (see encrypted-images):
 * their content, and what qemu-img says about them (info, map, check).
 */
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../src/base/error.js";
import type { MapEntry } from "../../src/block/types.js";
import { checkImage } from "../../src/image/check.js";
import { imageInfo } from "../../src/image/info.js";
import { mapImage } from "../../src/image/map.js";
import { digest } from "../support/digest.js";
import { skip } from "../support/skip.js";
import { unpackValid, worldOfFolder } from "./outside-data.js";

const valid = unpackValid(["vdi", "vpc", "parallels", "bochs", "cloop", "dmg", "vmdk", "vhdx"]);
if (valid === null) test("valid images", () => skip("the outside images are not there"));
for (const entry of valid?.entries ?? []) {
  const folder = join(valid!.dir, entry.id);
  for (const mode of ["sync", "async"] as const) {
    test(`${entry.id}: content (${mode})`, async () => {
      const world = worldOfFolder(folder, mode);
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
    const world = worldOfFolder(folder);
    const node = await world.open(entry.format, entry.file, {});
    const info = (await world.run(imageInfo(node))) as unknown as Record<string, unknown>;
    delete info["actual-size"];
    assert.equal(info, entry.info);
    const map: MapEntry[] = [];
    await world.run(mapImage(node, ({ filename: _filename, ...found }) => void map.push(found)));
    // QEMU takes a VHDX for one run of data; we know better. Holes of preallocated and flat files depend on the file system.
    if (entry.format !== "vhdx" && !/static$|fixed$|Flat/.test(entry.id)) assert.equal(map, entry.map);
    let end = 0;
    for (const { start, length } of map) {
      assert.is(start, end);
      end += length;
    }
    assert.is(end, node.size);
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

test.run();
