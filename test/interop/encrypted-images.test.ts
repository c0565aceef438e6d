/** Encrypted images, qed and qcow by QEMU 7.2: their content, and what qemu-img says about them (info, map, check). */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BlockdevOptions } from "../../src/block/context.js";
import { read } from "../../src/block/io.js";
import type { MapEntry } from "../../src/block/types.js";
import { luks } from "../../src/formats/luks/luks.js";
import { qcow } from "../../src/formats/qcow/qcow.js";
import { qcow2 } from "../../src/formats/qcow2/qcow2.js";
import { qed } from "../../src/formats/qed/qed.js";
import { raw } from "../../src/formats/raw/raw.js";
import { checkImage } from "../../src/image/check.js";
import { imageInfo } from "../../src/image/info.js";
import { mapImage } from "../../src/image/map.js";
import { memoryStorage } from "../../src/storage/memory.js";
import { digest } from "../support/digest.js";
import { skip } from "../support/skip.js";
import { makeWorld, type Mode, type World } from "../support/world.js";
import { unpackValid, type ManifestEntry } from "./outside-data.js";
import { refused } from "../support/refused.js";

const valid = unpackValid(["luks", "qcow2-luks", "qcow2-aes", "qcow", "qed"]);
const dir = valid?.dir ?? "";

function worldOf(entry: ManifestEntry, mode: Mode, secret: string = entry.secret ?? ""): World {
  const world = makeWorld({ mode, drivers: [raw, qcow2, luks, qcow, qed], secrets: { sec0: secret } });
  world.files.set(entry.file, memoryStorage(readFileSync(join(dir, entry.id, entry.file)), { name: entry.file }));
  return world;
}

/** Options of the manifest, given dotted or nested. */
function openOptions(entry: ManifestEntry, nested: boolean): BlockdevOptions {
  const given = entry.open_opts ?? {};
  if (!nested) return { ...given };
  const options: BlockdevOptions = {};
  const inner: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("encrypt.")) inner[name.slice(8)] = value;
    else options[name] = value;
  }
  return Object.keys(inner).length > 0 ? { ...options, encrypt: inner } : options;
}

for (const entry of valid?.entries ?? []) {
  for (const mode of ["sync", "async"] as const) {
    test(`${entry.id}: content (${mode})`, async () => {
      const world = worldOf(entry, mode);
      const node = await world.open(entry.format, entry.file, {}, openOptions(entry, mode === "sync"));
      assert.is(node.size, entry.virtual_size);
      if (entry.sha256 !== undefined) assert.is(await digest(world, node, 0, node.size), entry.sha256);
      for (const [start, length, sha256] of entry.extents)
        assert.is(await digest(world, node, start, length), sha256, `extent at ${start}`);
      // At odd places too.
      const whole = new Uint8Array(3000);
      await world.run(read(node, whole, 0));
      const part = new Uint8Array(1000);
      await world.run(read(node, part, 777));
      assert.equal(part, whole.subarray(777, 1777));
      await world.close(node);
    });
  }
  test(`${entry.id}: info without a secret, map, check`, async () => {
    const world = worldOf(entry, "sync");
    const closed = await world.open(entry.format, entry.file, { noIO: true });
    const info = (await world.run(imageInfo(closed))) as unknown as Record<string, unknown>;
    delete info["actual-size"];
    assert.equal(info, { ...entry.info, filename: entry.file });
    if (entry.secret !== undefined)
      assert.is((await refused(world.run(read(closed, new Uint8Array(512), 0)))).code, "ERR_ENCRYPTED");
    await world.close(closed);
    const node = await world.open(entry.format, entry.file, {}, openOptions(entry, true));
    const map: MapEntry[] = [];
    await world.run(mapImage(node, ({ filename: _filename, ...found }) => void map.push(found)));
    assert.equal(map, entry.map);
    if (entry.check.json === null) {
      assert.is((await refused(world.run(checkImage(node)))).errno, "ENOTSUP");
    } else {
      const found = (await world.run(checkImage(node))) as unknown as Record<string, unknown>;
      delete found["filename"];
      const { filename: _, ...expected } = entry.check.json;
      assert.equal(found, expected);
    }
    await world.close(node);
  });
  if (entry.secret === undefined) continue;
  test(`${entry.id}: wrong and missing secrets`, async () => {
    const world = worldOf(entry, "sync", "not the passphrase");
    const missing = await refused(world.open(entry.format, entry.file, {}));
    assert.match(missing.message, /Parameter '(encrypt\.)?key-secret' is required for cipher$/);
    if (!entry.id.includes("aes-") && entry.format !== "qcow" && entry.id !== "qcow2-aes-legacy") {
      const wrong = await refused(world.open(entry.format, entry.file, {}, openOptions(entry, true)));
      assert.is(wrong.message, "Invalid password, cannot unlock any keyslot");
      assert.is(wrong.code, "ERR_ENCRYPTED");
    }
  });
}
if (valid === null) test("encrypted images", () => skip("the outside images are not there"));

test.run();
