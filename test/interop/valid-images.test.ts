// time-limit: 170 s
/**
 * Images that QEMU 7.2 and other tools wrote, with what the real qemu-img says of them: content, info, map and check must agree.
 * What is left out stands in EXCLUDED with its reason.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../src/base/error.js";
import type { BlockdevOptions, OpenFlags } from "../../src/block/context.js";
import { readBytes } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import { openNode } from "../../src/block/open.js";
import { runAsync } from "../../src/block/op.js";
import { blockStatus } from "../../src/block/status.js";
import type { MapEntry } from "../../src/block/types.js";
import { checkImage } from "../../src/image/check.js";
import { imageInfo } from "../../src/image/info.js";
import { mapImage } from "../../src/image/map.js";
import { imageSize } from "../../src/image/open.js";
import { allowAll, nodeEnvironment } from "../../src/platform/node-environment.js";
import { hasQemu } from "../support/qemu.js";
import { skip } from "../support/skip.js";

/** Formats that are tested; the others come with their drivers. */
const FORMATS: readonly string[] = ["raw", "qcow2"];
/** Images by feature or id that cannot be opened yet. */
const EXCLUDED: Readonly<Record<string, string>> = {
  aes: "encryption",
  luks: "encryption",
  "qcow2-back-parallels": "backing format",
  "qcow2-back-qcow": "backing format",
  "qcow2-back-qed": "backing format",
  "qcow2-back-vhdx": "backing format",
  "qcow2-back-vmdk": "backing format",
};

/** Features whose part of `info` and whose snapshots are still to come. */
const NOT_YET: readonly string[] = ["bitmaps"];

interface Manifest {
  images: ManifestImage[];
}
type Extent = [offset: number, length: number, sha256: string];
interface ManifestImage {
  id: string;
  format: string;
  file: string;
  features: string[];
  virtual_size: number;
  extents: Extent[];
  sha256?: string;
  info: Record<string, unknown>;
  map: MapEntry[];
  check: { rc: number; json: Record<string, unknown> | null };
  probed_format: string;
  open_opts?: BlockdevOptions;
  snapshots?: { name: string; size: number; sha256?: string; extents: Extent[] }[];
}

const PIECE = 4 * 1024 * 1024;
const archive = resolve("../shared/data/images.tar.zst");
const folder = resolve("build/valid-images");

/** Unpacks the archive once; null when that is not possible here. */
function unpack(): string | null {
  if (!existsSync(archive)) return null;
  const stamp = join(folder, ".stamp");
  const version = `${statSync(archive).size} ${statSync(archive).mtimeMs}`;
  if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== version) {
    mkdirSync(folder, { recursive: true });
    try {
      execFileSync("tar", ["--zstd", "-xSf", archive, "-C", folder], { stdio: "pipe" });
    } catch {
      return null;
    }
    writeFileSync(stamp, version);
  }
  return join(folder, "valid");
}

const environment = nodeEnvironment({ gate: allowAll });

async function withImage(
  path: string,
  image: ManifestImage,
  flags: Partial<OpenFlags>,
  body: (node: Node) => Promise<void>,
): Promise<void> {
  // Names in the manifest are relative to the image's folder, as the real program saw them.
  process.chdir(path);
  const node = await runAsync(
    openNode(environment, {
      filename: image.file,
      driver: image.format,
      options: { ...image.open_opts },
      flags: { forceShare: true, ...flags },
    }),
  );
  try {
    await body(node);
  } finally {
    await runAsync(node.unref());
  }
}

async function sha256(node: Node, offset: number, length: number): Promise<string> {
  const hash = createHash("sha256");
  for (let at = 0; at < length; at += PIECE)
    hash.update(await runAsync(readBytes(node, offset + at, Math.min(PIECE, length - at))));
  return hash.digest("hex");
}

/** Every extent is as listed, and what lies between reads as zeros. */
async function checkExtents(node: Node, extents: readonly Extent[]): Promise<void> {
  for (const [offset, length, hash] of extents) assert.is(await sha256(node, offset, length), hash, `[${offset}, +${length})`);
  let gap = 0;
  for (const [offset, length] of [...extents, [node.size, 0] as const]) {
    for (let at = gap; at < offset;) {
      const status = await runAsync(blockStatus(node, at, offset - at));
      if (!status.zero) {
        const end = at + Math.min(status.length, 64 * PIECE);
        for (let from = at; from < end; from += PIECE) {
          const bytes = await runAsync(readBytes(node, from, Math.min(PIECE, end - from)));
          assert.ok(
            bytes.every((byte) => byte === 0),
            `there are bytes in [${from}, +${bytes.length}) that should be zero`,
          );
        }
        at = end;
      } else at += status.length;
    }
    gap = offset + length;
  }
}

/** Without what depends on the machine and the moment. */
function steady(value: unknown, drop: readonly string[]): unknown {
  if (Array.isArray(value)) return value.map((item) => steady(item, drop));
  if (typeof value !== "object" || value === null) return value;
  const kept: Record<string, unknown> = {};
  for (const name of Object.keys(value).sort()) {
    const member = (value as Record<string, unknown>)[name];
    if (!drop.includes(name) && member !== undefined) kept[name] = steady(member, drop);
  }
  return kept;
}
const INFO_VOLATILE = ["actual-size", "date-sec", "date-nsec", "vm-clock-sec", "vm-clock-nsec"];

async function compareInfo(node: Node, image: ManifestImage): Promise<void> {
  assert.equal(steady(await runAsync(imageInfo(node)), INFO_VOLATILE), steady(image.info, INFO_VOLATILE));
}

/** Where holes are in a file depends on how it came here: everything that has a place in a file counts as data. */
function withoutHoles(entries: readonly MapEntry[]): MapEntry[] {
  const merged: MapEntry[] = [];
  for (const { filename: _filename, ...entry } of entries) {
    if (entry.offset !== undefined && entry.present) Object.assign(entry, { zero: false, data: true });
    const last = merged.at(-1);
    const follows =
      last !== undefined &&
      last.depth === entry.depth &&
      last.present === entry.present &&
      last.zero === entry.zero &&
      last.data === entry.data &&
      (entry.offset === undefined
        ? last.offset === undefined
        : last.offset !== undefined && last.offset + last.length === entry.offset);
    if (follows) last.length += entry.length;
    else merged.push({ ...entry });
  }
  return merged;
}

/** The first entry that differs says more than two long lists. */
function sameMap(actual: readonly MapEntry[], expected: readonly MapEntry[]): void {
  for (let i = 0; i < Math.max(actual.length, expected.length); i++)
    assert.equal(steady(actual[i], ["filename"]), steady(expected[i], ["filename"]), `entry ${i}`);
}

async function compareMap(node: Node, image: ManifestImage): Promise<void> {
  const entries: MapEntry[] = [];
  await runAsync(mapImage(node, (entry) => void entries.push(entry)));
  sameMap(withoutHoles(entries), withoutHoles(image.map));
  // Holes included, where the real program can look at the same file.
  if (hasQemu)
    sameMap(
      entries,
      JSON.parse(
        execFileSync("qemu-img", ["map", "--output=json", "-U", "-f", image.format, image.file], { encoding: "utf8" }),
      ) as MapEntry[],
    );
}

async function compareSnapshot(node: Node, snapshot: NonNullable<ManifestImage["snapshots"]>[number]): Promise<void> {
  const impl = node.impl;
  assert.ok(impl.shape === "mapped" && impl.snapshots !== undefined, "has snapshots");
  const found = impl.snapshots.list().find(({ name }) => name === snapshot.name);
  assert.ok(found !== undefined, `has the snapshot '${snapshot.name}'`);
  await runAsync(impl.snapshots.load(found));
  assert.is(node.size, snapshot.size);
  if (snapshot.sha256 !== undefined) assert.is(await sha256(node, 0, snapshot.size), snapshot.sha256);
  await checkExtents(node, snapshot.extents);
}

async function compareCheck(node: Node, image: ManifestImage): Promise<void> {
  const { rc, json } = image.check;
  if (json === null) {
    let failure: unknown;
    await runAsync(checkImage(node)).catch((error: unknown) => (failure = error));
    assert.ok(failure instanceof BlockError && failure.errno === "ENOTSUP", "this format cannot be checked");
    assert.is(rc, 63);
    return;
  }
  const found = await runAsync(checkImage(node));
  assert.equal(steady(found, ["filename"]), steady(json, ["filename"]));
  assert.is(found["check-errors"] > 0 ? 1 : found.corruptions ? 2 : found.leaks ? 3 : 0, rc);
}

const root = unpack();
if (root === null) {
  test("images written by QEMU", () => skip("../shared/data/images.tar.zst is not there, or tar cannot unpack zstd here"));
} else {
  const { images } = JSON.parse(readFileSync(join(root, "manifest.json"), "utf8")) as Manifest;
  let count = 0;
  for (const image of images) {
    if (!FORMATS.includes(image.format)) continue;
    if ([image.id, ...image.features].some((name) => Object.hasOwn(EXCLUDED, name))) continue;
    count++;
    const path = join(root, image.id);
    test(`${image.id}: probed, content`, async () => {
      process.chdir(path);
      const probed = await runAsync(
        openNode(environment, { filename: image.file, flags: { forceShare: true, noBacking: true, noIO: true } }),
      );
      assert.is(probed.driver.name, image.probed_format);
      await runAsync(probed.unref());
      await withImage(path, image, {}, async (node) => {
        assert.is(imageSize(node), image.virtual_size);
        if (image.sha256 !== undefined) assert.is(await sha256(node, 0, image.virtual_size), image.sha256);
        await checkExtents(node, image.extents);
      });
    });
    if (!image.features.some((name) => NOT_YET.includes(name)))
      for (const snapshot of image.snapshots ?? []) {
        test(`${image.id}: snapshot ${snapshot.name}`, () =>
          withImage(path, image, {}, (node) => compareSnapshot(node, snapshot)));
      }
    if (image.snapshots === undefined && !image.features.some((name) => NOT_YET.includes(name)))
      test(`${image.id}: info`, () =>
        withImage(path, image, { noBacking: true, noIO: true }, (node) => compareInfo(node, image)));
    test(`${image.id}: map`, () => withImage(path, image, {}, (node) => compareMap(node, image)));
    test(`${image.id}: check`, () =>
      withImage(path, image, { check: true, noBacking: true }, (node) => compareCheck(node, image)));
  }
  test("the list of images is the expected one", () => {
    assert.is(images.length, 131);
    assert.ok(count >= 80, `${count} images`);
  });
}

test.run();
