/** VMDK images of several files: extents of every kind side by side, the gate, missing and hostile ones. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodeText } from "../../../../src/base/bytes.js";
import type { GateDecision, Reference } from "../../../../src/block/context.js";
import { read, write } from "../../../../src/block/io.js";
import { done } from "../../../../src/block/op.js";
import { imageInfo } from "../../../../src/image/info.js";
import { checkImage } from "../../../../src/image/check.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { vmdk } from "../../../../src/formats/vmdk/vmdk.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { cowdExtent, seSparseExtent } from "../../../support/foreign-images.js";
import { makeWorld, type World } from "../../../support/world.js";
import { refusal } from "../../../support/refused.js";

const world = (): World => makeWorld({ mode: "sync", drivers: [raw, vmdk] });
const put = (here: World, name: string, bytes: Uint8Array | string): void =>
  void here.files.set(name, memoryStorage(typeof bytes === "string" ? encodeText(bytes) : bytes, { name }));
const head = (type = "custom"): string =>
  `# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="${type}"\n`;

test("extents of every kind in one image, read across their borders", async () => {
  const here = world();
  put(here, "flat.raw", new Uint8Array(8192).fill(0xf1));
  put(here, "server.vmdk", cowdExtent());
  put(here, "se.vmdk", seSparseExtent());
  put(
    here,
    "image.vmdk",
    `${head()}RW 4 ZERO\nRW 8 FLAT "flat.raw" 4\nRW 40 VMFSSPARSE "server.vmdk"\nRW 32 SESPARSE "se.vmdk"\n`,
  );
  const want = new Uint8Array(84 * 512);
  want.fill(0xf1, 4 * 512, 12 * 512);
  want.fill(0xc1, 20 * 512, 28 * 512);
  want.fill(0xc3, 36 * 512, 44 * 512);
  want.fill(0x5e, 76 * 512);
  const node = await here.open(null, "image.vmdk", {});
  assert.is(node.driver.name, "vmdk");
  assert.is(node.size, want.length);
  for (const [offset, length] of [
    [0, want.length],
    [1000, 5000],
    [511, 2],
    [43 * 512 - 1, 34 * 512],
  ] as const) {
    const seen = new Uint8Array(length);
    await here.run(read(node, seen, offset));
    assert.is(Buffer.compare(seen, want.subarray(offset, offset + length)), 0, `${offset} +${length}`);
  }
  const info = await here.run(imageInfo(node));
  assert.equal(
    (info["format-specific"]!.data["extents"] as { format: string; filename: string }[]).map(({ format, filename }) => [
      format,
      filename,
    ]),
    [
      ["ZERO", ""],
      ["FLAT", "flat.raw"],
      ["VMFSSPARSE", "server.vmdk"],
      ["SESPARSE", "se.vmdk"],
    ],
  );
  assert.is((await here.run(checkImage(node))).corruptions, undefined);
  await here.close(node);
  assert.match(
    await refusal(here.open("vmdk", "image.vmdk", { write: true })),
    /extent 3 'server\.vmdk' cannot be opened: No write support/,
  );
});

test("a server extent without its descriptor can be read", async () => {
  const here = world();
  put(here, "server.vmdk", cowdExtent());
  const node = await here.open(null, "server.vmdk", {});
  const seen = new Uint8Array(512);
  await here.run(read(node, seen, 8 * 512));
  assert.ok(seen.every((byte) => byte === 0xc1));
  await here.close(node);
});

test("a missing extent is named; the gate is asked for each; nothing is opened when it refuses", async () => {
  const here = world();
  await here.create("vmdk", "dir/x.vmdk", 5 * 2 ** 30, { subformat: "twoGbMaxExtentSparse" });
  here.files.delete("dir/x-s002.vmdk");
  const message = await refusal(here.open("vmdk", "dir/x.vmdk", {}));
  assert.match(message, /^VMDK, twoGbMaxExtentSparse, extent 2 'x-s002\.vmdk' is missing: .*dir\/x-s002\.vmdk/);
  const asked: Reference[] = [];
  (here.environment as { gate: unknown }).gate = (reference: Reference) => {
    asked.push(reference);
    return done<GateDecision>(false);
  };
  assert.match(await refusal(here.open("vmdk", "dir/x.vmdk", {})), /was not allowed to be opened/);
  assert.is(asked.length, 1);
  assert.equal([asked[0]!.kind, asked[0]!.filename, asked[0]!.resolved], ["extent", "x-s001.vmdk", "dir/x-s001.vmdk"]);
});

test("an extent that is the image itself, a device, or another protocol goes nowhere", async () => {
  const here = world();
  for (const [type, line, want] of [
    ["monolithicFlat", 'RW 2 FLAT "image.vmdk" 0', /loop/],
    ["fullDevice", 'RW 2 FLAT "/dev/sda" 0', /Unsupported image type/],
    ["monolithicFlat", 'RW 2 FLAT "fat:/etc" 0', /protocol/],
    ["monolithicFlat", 'NOACCESS 2 FLAT "f.raw" 0', /no access/],
    ["monolithicFlat", 'RW 9223372036854775807 FLAT "f.raw" 0', /File too large/],
    ["monolithicFlat", "", /names no extents/],
  ] as const) {
    put(here, "image.vmdk", `${head(type)}${line}\n`);
    assert.match(await refusal(here.open("vmdk", "image.vmdk", {})), want, line);
  }
});

test("read-only extents are read and not written", async () => {
  const here = world();
  put(here, "f.raw", new Uint8Array(1024).fill(9));
  put(here, "image.vmdk", `${head("monolithicFlat")}RDONLY 2 FLAT "f.raw" 0\n`);
  const node = await here.open("vmdk", "image.vmdk", {});
  const seen = new Uint8Array(1024);
  await here.run(read(node, seen, 0));
  assert.ok(seen.every((byte) => byte === 9));
  await here.close(node);
  assert.match(await refusal(here.open("vmdk", "image.vmdk", { write: true })), /extent 1 'f\.raw' is read-only/);
});

// Were it more than their number that they cost, the time limit would end this test.
test("ten thousand extents", async () => {
  const here = world();
  put(here, "f.raw", new Uint8Array(512).fill(7));
  put(here, "image.vmdk", `${head("monolithicFlat")}${'RW 1 FLAT "f.raw" 0\n'.repeat(10_000)}`);
  const node = await here.open("vmdk", "image.vmdk", {});
  assert.is(node.size, 10_000 * 512);
  const seen = new Uint8Array(node.size);
  await here.run(read(node, seen, 0));
  assert.ok(seen.every((byte) => byte === 7));
  await here.close(node);
  // The same with a file for each of them.
  let lines = "";
  for (let i = 0; i < 3000; i++) {
    put(here, `f${i}.raw`, new Uint8Array(512).fill(i));
    lines += `RW 1 FLAT "f${i}.raw" 0\n`;
  }
  put(here, "image.vmdk", `${head("monolithicFlat")}${lines}`);
  const many = await here.open("vmdk", "image.vmdk", {});
  await here.run(read(many, seen.subarray(0, 3000 * 512), 0));
  for (let i = 0; i < 3000; i++) if (seen[i * 512 + 5] !== (i & 255)) assert.unreachable(`extent ${i}`);
  await here.close(many);
});

test("grains that do not begin at multiples of their size are read, not written", async () => {
  const here = world();
  await here.create("vmdk", "s.vmdk", 1 << 20, {});
  const inner = await here.open("vmdk", "s.vmdk");
  await here.run(write(inner, new Uint8Array(1 << 20).fill(0x44), 0));
  await here.close(inner);
  put(here, "f.raw", new Uint8Array(512).fill(1));
  put(here, "image.vmdk", `${head()}RW 1 FLAT "f.raw" 0\nRW 2048 SPARSE "s.vmdk"\n`);
  const node = await here.open("vmdk", "image.vmdk", {});
  const seen = new Uint8Array(node.size);
  await here.run(read(node, seen, 0));
  assert.ok(seen.subarray(0, 512).every((byte) => byte === 1) && seen.subarray(512).every((byte) => byte === 0x44));
  await here.close(node);
  assert.match(await refusal(here.open("vmdk", "image.vmdk", { write: true })), /read-only: extent 2 does not begin/);
});

test.run();
