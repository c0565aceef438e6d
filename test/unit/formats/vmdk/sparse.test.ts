/** Sparse VMDK images: parents and content IDs, damaged directories, missing tables, reuse of space, streams. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { viewOf } from "../../../../src/base/bytes.js";
import { flush, read, write, writeZeroes } from "../../../../src/block/io.js";
import type { Node } from "../../../../src/block/node.js";
import { blockStatus } from "../../../../src/block/status.js";
import { parseDescriptor } from "../../../../src/formats/vmdk/descriptor.js";
import { nodeSource } from "../../../../src/formats/shared/stream.js";
import { writeStreamOptimized } from "../../../../src/formats/vmdk/stream.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { vmdk } from "../../../../src/formats/vmdk/vmdk.js";
import { checkImage } from "../../../../src/image/check.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { random } from "../../../support/random.js";
import { makeWorld, MODES, type Mode, type World } from "../../../support/world.js";
import { refusal } from "../../../support/refused.js";

const MiB = 1048576;
const GRAIN = 65536;
const world = (mode: Mode = "sync"): World => makeWorld({ mode, drivers: [raw, vmdk] });

async function content(here: World, node: Node): Promise<Uint8Array> {
  const bytes = new Uint8Array(node.size);
  await here.run(read(node, bytes, 0));
  return bytes;
}
const cidOf = (here: World, name: string): number => parseDescriptor(here.bytes(name).subarray(512)).cid;

async function filled(
  here: World,
  name: string,
  size: number,
  value: number,
  options: Record<string, unknown> = {},
): Promise<void> {
  await here.create("vmdk", name, size, options);
  const node = await here.open("vmdk", name);
  await here.run(write(node, new Uint8Array(size).fill(value), 0));
  await here.close(node);
}

test("the content ID changes with the first write of a session, and only then", async () => {
  const here = world();
  await here.create("vmdk", "a.vmdk", MiB);
  const before = cidOf(here, "a.vmdk");
  await here.close(await here.open("vmdk", "a.vmdk"));
  assert.is(cidOf(here, "a.vmdk"), before);
  const node = await here.open("vmdk", "a.vmdk");
  await here.run(write(node, new Uint8Array(512), 0));
  const during = cidOf(here, "a.vmdk");
  assert.is.not(during, before);
  await here.run(write(node, new Uint8Array(512), 512));
  await here.close(node);
  assert.is(cidOf(here, "a.vmdk"), during);
});

test("an overlay shows its parent, hides it where written, and has zeros where asked", async () => {
  for (const zeroed_grain of [false, true]) {
    const here = world();
    await filled(here, "base.vmdk", 3 * MiB, 0x11);
    await here.create("vmdk", "top.vmdk", 4 * MiB, { backing_file: "base.vmdk", backing_fmt: "vmdk", zeroed_grain });
    const node = await here.open(null, "top.vmdk");
    const model = new Uint8Array(4 * MiB).fill(0x11, 0, 3 * MiB);
    assert.is(Buffer.compare(await content(here, node), model), 0);
    await here.run(write(node, new Uint8Array(100).fill(5), 70_000));
    model.fill(5, 70_000, 70_100);
    await here.run(writeZeroes(node, MiB, MiB, { mayUnmap: true }));
    model.fill(0, MiB, 2 * MiB);
    await here.run(writeZeroes(node, 3 * MiB - 1000, 500));
    model.fill(0, 3 * MiB - 1000, 3 * MiB - 500);
    assert.is(Buffer.compare(await content(here, node), model), 0);
    const status = await here.run(blockStatus(node, MiB, MiB));
    if (zeroed_grain) assert.ok(status.zero && !status.data && status.depth === 0);
    await here.close(node);
    const again = await here.open("vmdk", "top.vmdk", {});
    assert.is(Buffer.compare(await content(here, again), model), 0);
    await here.close(again);
  }
});

test("a parent that has changed, or is no VMDK, is not read", async () => {
  const here = world();
  await filled(here, "base.vmdk", MiB, 0x11);
  await here.create("vmdk", "top.vmdk", MiB, { backing_file: "base.vmdk", backing_fmt: "vmdk" });
  const node = await here.open("vmdk", "base.vmdk");
  await here.run(write(node, new Uint8Array(512), 0));
  await here.close(node);
  const top = await here.open("vmdk", "top.vmdk");
  assert.match(await refusal(content(here, top)), /content ID/);
  assert.match(await refusal(here.run(write(top, new Uint8Array(512), 0))), /content ID/);
  // A whole grain needs nothing of the parent.
  await here.run(write(top, new Uint8Array(GRAIN), 0));
  await here.close(top);
  await here.create("raw", "flat", MiB);
  assert.match(await refusal(here.create("vmdk", "other.vmdk", MiB, { backing_file: "flat" })), /Must be vmdk/);
  assert.match(
    await refusal(here.create("vmdk", "other.vmdk", MiB, { backing_file: "flat", backing_fmt: "raw" })),
    /must be a vmdk image/,
  );
});

/** Sector numbers of the two directories. */
const directories = (bytes: Uint8Array): [number, number] => [
  viewOf(bytes).getUint32(48, true),
  viewOf(bytes).getUint32(56, true),
];

test("where the grain directory is damaged the redundant one is used, with a warning, a check says so, and nothing is written there", async () => {
  const spoilers: ((bytes: Uint8Array, redundant: number, primary: number) => void)[] = [
    (bytes, _r, primary) => bytes.fill(0, primary * 512, primary * 512 + 512),
    (bytes, _r, primary) => bytes.fill(0xff, primary * 512, primary * 512 + 512),
    (bytes) => viewOf(bytes).setUint32(56, 0x7fffffff, true),
  ];
  for (const spoil of spoilers) {
    const here = world();
    await filled(here, "a.vmdk", 2 * MiB, 0x3c);
    const bytes = here.bytes("a.vmdk");
    spoil(bytes, ...directories(bytes));
    here.files.set("a.vmdk", memoryStorage(bytes, { name: "a.vmdk" }));
    const node = await here.open("vmdk", "a.vmdk", {});
    assert.ok((await content(here, node)).every((byte) => byte === 0x3c));
    assert.is(here.warnings.length, 1);
    assert.match(here.warnings[0]!, /grain directory/);
    await here.close(node);
    const checked = await here.open("vmdk", "a.vmdk", { check: true });
    const found: string[] = [];
    const { corruptions } = await here.run(checkImage(checked, { fix: "none", onProblem: ({ text }) => void found.push(text) }));
    await here.close(checked);
    assert.is(corruptions, 1);
    assert.match(found.join(), /^ERROR: The grain directory of 'a.vmdk' is /);
    let message: string;
    try {
      const writable = await here.open("vmdk", "a.vmdk");
      message = await refusal(here.run(write(writable, new Uint8Array(512), 0)));
      await here.close(writable);
    } catch (error) {
      message = (error as Error).message;
    }
    assert.match(message, /damaged/);
  }
});

test("a check tells grains that two places of the disk have, and those behind the end of the file", async () => {
  const here = world();
  await filled(here, "a.vmdk", MiB, 0x3c);
  const bytes = here.bytes("a.vmdk");
  const view = viewOf(bytes);
  for (const directory of directories(bytes)) {
    const table = view.getUint32(directory * 512, true) * 512;
    view.setUint32(table + 4 * 3, view.getUint32(table + 4, true), true);
    view.setUint32(table + 4 * 5, 0x7ffffff, true);
  }
  here.files.set("a.vmdk", memoryStorage(bytes, { name: "a.vmdk" }));
  const node = await here.open("vmdk", "a.vmdk", { check: true });
  const found: string[] = [];
  const { corruptions } = await here.run(checkImage(node, { fix: "none", onProblem: ({ text }) => void found.push(text) }));
  await here.close(node);
  assert.equal(found, [
    "ERROR: cluster offset for sector 384 is that of another one",
    "ERROR: cluster offset for sector 640 points after EOF",
  ]);
  assert.is(corruptions, 2);
});

test("a damaged second copy is left alone", async () => {
  const here = world();
  await filled(here, "a.vmdk", MiB, 0x3c);
  const bytes = here.bytes("a.vmdk");
  const [redundant] = directories(bytes);
  viewOf(bytes).setUint32(redundant * 512, 0x69442023, true);
  here.files.set("a.vmdk", memoryStorage(bytes, { name: "a.vmdk" }));
  const node = await here.open("vmdk", "a.vmdk");
  await here.run(write(node, new Uint8Array(2000).fill(1), 100));
  await here.close(node);
  assert.is(here.warnings.length, 0);
  assert.ok(here.bytes("a.vmdk").length < 4 * MiB, "the file was stretched");
});

test("tables that are not there yet are made when something is written", async () => {
  const here = world();
  await here.create("vmdk", "a.vmdk", 100 * MiB);
  const bytes = here.bytes("a.vmdk");
  for (const directory of directories(bytes)) bytes.fill(0, directory * 512, directory * 512 + 512);
  here.files.set("a.vmdk", memoryStorage(bytes, { name: "a.vmdk" }));
  const node = await here.open("vmdk", "a.vmdk");
  const model = new Uint8Array(100 * MiB);
  for (const at of [0, 40 * MiB + 777, 99 * MiB]) {
    await here.run(write(node, new Uint8Array(70_000).fill(1 + (at % 250)), at));
    model.fill(1 + (at % 250), at, at + 70_000);
  }
  await here.close(node);
  const again = await here.open("vmdk", "a.vmdk", {});
  assert.is(Buffer.compare(await content(here, again), model), 0);
  assert.is((await here.run(checkImage(again))).corruptions, undefined);
  const [redundant, primary] = directories(here.bytes("a.vmdk"));
  const view = viewOf(here.bytes("a.vmdk"));
  const [a, b] = [view.getUint32(primary * 512, true), view.getUint32(redundant * 512, true)];
  assert.ok(a > 0 && b > 0 && a !== b);
  assert.equal(here.bytes("a.vmdk").subarray(a * 512, a * 512 + 2048), here.bytes("a.vmdk").subarray(b * 512, b * 512 + 2048));
  await here.close(again);
});

test("space that is let go in a session is used again", async () => {
  const here = world();
  await here.create("vmdk", "a.vmdk", 8 * MiB, { zeroed_grain: true });
  const node = await here.open("vmdk", "a.vmdk");
  for (let round = 0; round < 10; round++) {
    await here.run(write(node, new Uint8Array(4 * MiB).fill(round + 1), (round % 2) * 4 * MiB));
    await here.run(flush(node));
    await here.run(writeZeroes(node, (round % 2) * 4 * MiB, 4 * MiB, { mayUnmap: true }));
    await here.run(flush(node));
  }
  assert.ok((await content(here, node)).every((byte) => byte === 0));
  await here.close(node);
  assert.ok(here.bytes("a.vmdk").length < 10 * MiB, `the file has ${here.bytes("a.vmdk").length} bytes`);
});

test("streams: front to back, footer at the end; read back; whole grains only", async () => {
  for (const mode of MODES) {
    const here = world(mode);
    const chance = random(5);
    for (const size of [512, GRAIN, 3 * MiB + 1536, 70 * MiB]) {
      const model = new Uint8Array(size);
      for (let i = 0; i < 4; i++) {
        const length = Math.min(size, 1 + chance.int(200_000));
        model.set(chance.bytes(length), chance.int(size - length + 1));
      }
      here.files.set("source", memoryStorage(model.slice(), { name: "source" }));
      const source = await here.open("raw", "source", {});
      const parts: Uint8Array[] = [];
      const result = await here.run(
        writeStreamOptimized(
          { size: source.size, source: nodeSource(source), codecs: source.environment.codecs },
          {
            // eslint-disable-next-line require-yield
            *append(bytes) {
              parts.push(bytes.slice());
            },
          },
          { filename: "s.vmdk" },
        ),
      );
      await here.close(source);
      const bytes = Buffer.concat(parts);
      assert.is(result.bytes, bytes.length);
      here.files.set("s.vmdk", memoryStorage(bytes, { name: "s.vmdk" }));
      const node = await here.open(null, "s.vmdk", {});
      assert.is(node.size, size);
      assert.is(Buffer.compare(await content(here, node), model), 0, `${mode} ${size}`);
      const middle = new Uint8Array(Math.min(size, 1000));
      await here.run(read(node, middle, Math.floor((size - middle.length) / 2)));
      assert.is((await here.run(checkImage(node))).corruptions, undefined);
      await here.close(node);
      // Cut off, it has no footer and is refused.
      here.files.set("cut.vmdk", memoryStorage(bytes.subarray(0, bytes.length - 512), { name: "cut.vmdk" }));
      assert.match(await refusal(here.open("vmdk", "cut.vmdk", {})), /footer/);
    }
  }
});

test("streamOptimized images take each grain once, whole", async () => {
  for (const mode of MODES) {
    const here = world(mode);
    const size = 2 * MiB + 1024;
    await here.create("vmdk", "s.vmdk", size, { subformat: "streamOptimized" });
    const node = await here.open("vmdk", "s.vmdk");
    const model = new Uint8Array(size);
    for (let i = 0; i < 1024; i++) model[MiB + 700 + i * 11] = i;
    model.fill(3, 2 * MiB);
    await here.run(write(node, model.subarray(MiB), MiB));
    assert.match(await refusal(here.run(write(node, model.subarray(MiB, MiB + GRAIN), MiB))), /allocated cluster/);
    assert.match(await refusal(here.run(write(node, new Uint8Array(100), 0))), /whole clusters/);
    await here.run(flush(node));
    assert.is(Buffer.compare(await content(here, node), model), 0);
    await here.run(write(node, new Uint8Array(GRAIN).fill(9), 5 * GRAIN, { compressed: true }));
    model.fill(9, 5 * GRAIN, 6 * GRAIN);
    await here.close(node);
    const again = await here.open("vmdk", "s.vmdk", {});
    assert.is(Buffer.compare(await content(here, again), model), 0, mode);
    await here.close(again);
  }
});

test("compressed grains that are read together: any order in the file, dense and easy ones, one that is damaged", async () => {
  const size = 6 * MiB;
  const chance = random(11);
  for (const mode of MODES) {
    const here = world(mode);
    await here.create("vmdk", "s.vmdk", size, { subformat: "streamOptimized" });
    const model = new Uint8Array(size);
    for (let at = 0; at < size; at++) model[at] = at % (3 * GRAIN) < GRAIN ? chance.int(256) : 1 + (at >>> 16);
    const node = await here.open("vmdk", "s.vmdk");
    // Backwards, so that the order in the file is another than the guest's; some are left out.
    for (let grain = size / GRAIN - 1; grain >= 0; grain--) {
      const part = model.subarray(grain * GRAIN, (grain + 1) * GRAIN);
      if (grain % 7 === 5) part.fill(0);
      else await here.run(write(node, part, grain * GRAIN));
    }
    await here.close(node);
    const again = await here.open("vmdk", "s.vmdk", {});
    assert.is(Buffer.compare(await content(here, again), model), 0, mode);
    const across = new Uint8Array(3 * MiB);
    await here.run(read(again, across, MiB + 700));
    assert.is(Buffer.compare(across, model.subarray(MiB + 700, 4 * MiB + 700)), 0, mode);
    const { offset } = await here.run(blockStatus(again, 3 * GRAIN, GRAIN, { wantZero: false }));
    await here.close(again);
    assert.is(offset, -1);
    // The marker of the grain at 3 * GRAIN, by its sector number: its stream is spoilt.
    const bytes = here.bytes("s.vmdk");
    const host = [...Array(bytes.length / 512).keys()].find((sector) => {
      const view = viewOf(bytes);
      return sector > 128 && view.getUint32(sector * 512, true) === (3 * GRAIN) / 512 && view.getUint32(sector * 512 + 4) === 0;
    })!;
    here.files.get("s.vmdk")!.sync.write(new Uint8Array(400).fill(0xee), host * 512 + 12);
    const spoilt = await here.open("vmdk", "s.vmdk", {});
    assert.match(await refusal(content(here, spoilt)), new RegExp(`compressed grain at offset ${host * 512} of .* is damaged`));
    const sound = new Uint8Array(3 * GRAIN);
    await here.run(read(spoilt, sound, 0));
    assert.is(Buffer.compare(sound, model.subarray(0, 3 * GRAIN)), 0);
    await here.close(spoilt);
  }
});

test.run();
