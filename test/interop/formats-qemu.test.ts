// time-limit: 300 s
/** VDI, Parallels, VHD, VMDK and VHDX images with the real qemu-img and qemu-io, in both directions. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { truncate } from "../../src/block/io.js";
import { hasQemu, optionText, qemu } from "../support/qemu.js";
import { chooseSeed, random } from "../support/random.js";
import { skip } from "../support/skip.js";
import { tempPath } from "../support/temp.js";
import {
  bothWays,
  change,
  contentOf,
  create,
  folder,
  go,
  judge,
  MiB,
  openImage,
  sparseSource,
  type Kind,
} from "./qemu-images.js";

const seed = chooseSeed();

const virtualPc: readonly Kind[] = [
  { driver: "vdi", options: {}, check: true },
  { driver: "vdi", options: { static: true }, check: true },
  { driver: "parallels", options: {}, check: true },
  { driver: "parallels", options: { cluster_size: 65536 }, check: true },
  { driver: "parallels", options: { cluster_size: 512 }, check: true },
  { driver: "vpc", options: {}, check: false },
  { driver: "vpc", options: { force_size: true }, check: false },
  { driver: "vpc", options: { subformat: "fixed" }, check: false },
  { driver: "vpc", options: { subformat: "fixed", force_size: true }, check: false },
];
const virtualMachines: readonly Kind[] = [
  { driver: "vmdk", options: {}, check: true },
  { driver: "vmdk", options: { zeroed_grain: true, adapter_type: "lsilogic", hwversion: "12", toolsversion: "9" }, check: true },
  { driver: "vmdk", options: { subformat: "monolithicFlat", compat6: true }, check: true },
  { driver: "vmdk", options: { subformat: "twoGbMaxExtentSparse" }, check: true },
  {
    driver: "vmdk",
    options: { subformat: "twoGbMaxExtentSparse", zeroed_grain: true, adapter_type: "legacyESX" },
    check: true,
  },
  { driver: "vmdk", options: { subformat: "twoGbMaxExtentFlat", adapter_type: "buslogic" }, check: true },
  { driver: "vhdx", options: {}, check: true },
  { driver: "vhdx", options: { block_size: MiB, block_state_zero: false }, check: true },
  { driver: "vhdx", options: { subformat: "fixed", block_size: 2 * MiB }, check: true },
  { driver: "vhdx", options: { block_size: 32 * MiB, log_size: 3 * MiB }, check: true },
];
const streamOptimized: Kind = { driver: "vmdk", options: { subformat: "streamOptimized" }, check: true };
const kinds: readonly Kind[] = [...virtualPc, ...virtualMachines];

/** Offsets in a header that differ from image to image: UUIDs, times, checksums over them. */
function blank(driver: string, bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  if (driver === "vdi") copy.fill(0, 392, 424);
  if (driver === "vpc") {
    for (const at of [0, copy.length - 512]) {
      if (copy.toString("latin1", at, at + 8) !== "conectix") continue;
      copy.fill(0, at + 24, at + 28);
      copy.fill(0, at + 64, at + 84);
    }
  }
  return copy;
}

for (const { driver, options } of virtualPc) {
  for (const size of [0, 512, 5 * MiB + 1536, 300 * MiB]) {
    test(`${driver} ${JSON.stringify(options)} of ${size} bytes is created as qemu-img creates it`, () => {
      if (!hasQemu) return skip("qemu-img is not installed");
      const ours = tempPath(`ours.${driver}`);
      const theirs = tempPath(`theirs.${driver}`);
      create(driver, ours, size, options);
      qemu("qemu-img", "create", "-q", "-f", driver, ...optionText(options), theirs, String(size));
      if (size === 0 && options["subformat"] === "fixed") {
        // QEMU takes the footer of an empty fixed disk for that of a dynamic one, and cannot open what it made.
        for (const image of [ours, theirs]) {
          const node = openImage(driver, image, false);
          assert.is(node.size, 0);
          go(node.unref());
        }
        return;
      }
      const mine = JSON.parse(qemu("qemu-img", "info", "-f", driver, "--output=json", ours)) as Record<string, unknown>;
      const other = JSON.parse(qemu("qemu-img", "info", "-f", driver, "--output=json", theirs)) as Record<string, unknown>;
      assert.is(mine["virtual-size"], other["virtual-size"]);
      if (size > 64 * MiB && (options["static"] === true || options["subformat"] === "fixed"))
        assert.is(statSync(ours).size, statSync(theirs).size);
      else assert.ok(blank(driver, readFileSync(ours)).equals(blank(driver, readFileSync(theirs))), "the files differ");
    });
  }
}

for (const kind of kinds) {
  test(`${kind.driver} ${JSON.stringify(kind.options)}: what we write qemu reads, what qemu writes we read`, () => {
    if (!hasQemu) return skip("qemu-img is not installed");
    console.log(`SEED=${seed}`);
    bothWays(kind, random(seed), 3);
  });
}

test("an image that qemu-img converted reads as its source", () => {
  if (!hasQemu) return skip("qemu-img is not installed");
  const source = join(folder(), "source.raw");
  const content = sparseSource(source, random(seed + 1), 9 * MiB + 512);
  for (const { driver, options } of [...kinds, streamOptimized]) {
    const image = join(folder(), `image.${driver}`);
    qemu("qemu-img", "convert", "-O", driver, ...optionText(options), source, image);
    const bytes = contentOf(driver, image);
    assert.is(Buffer.compare(bytes.subarray(0, content.length), content), 0, driver);
    assert.ok(
      bytes.subarray(content.length).every((byte) => byte === 0),
      `${driver}: zeros behind the source`,
    );
  }
});

test("a grown image is what qemu takes it for", () => {
  if (!hasQemu) return skip("qemu-img is not installed");
  const chance = random(seed + 2);
  for (const kind of virtualPc) {
    if (kind.options["static"] === true || (kind.driver === "vpc" && kind.options["force_size"] !== true)) continue;
    // Its first cluster follows its table, which has no room.
    if (kind.options["cluster_size"] === 512) continue;
    const image = tempPath(`image.${kind.driver}`);
    create(kind.driver, image, 3 * MiB, kind.options);
    const node = openImage(kind.driver, image, true);
    const before = new Uint8Array(3 * MiB);
    change(node, before, chance, 5);
    const size = 21 * MiB + 512;
    go(truncate(node, size, { preallocation: "off" }));
    const model = new Uint8Array(size);
    model.set(before);
    change(node, model, chance, 10);
    go(node.unref());
    judge(kind, image, model);
  }
});

test.run();
