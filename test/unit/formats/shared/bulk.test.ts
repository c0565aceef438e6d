/**
 * What copying a disk into a fresh image, and out of it, costs at the file below: a request or two for each of the copy's own, tables
 * once at the end, no flush on the way. Timings are not looked at; a format that goes to the disk block by block has far more requests.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Driver } from "../../../../src/block/driver.js";
import { flush, read, write } from "../../../../src/block/io.js";
import { StorageRequest } from "../../../../src/block/op.js";
import { parallels } from "../../../../src/formats/parallels/parallels.js";
import { qcow } from "../../../../src/formats/qcow/qcow.js";
import { qcow2 } from "../../../../src/formats/qcow2/qcow2.js";
import { qed } from "../../../../src/formats/qed/qed.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { vdi } from "../../../../src/formats/vdi/vdi.js";
import { vhdx } from "../../../../src/formats/vhdx/vhdx.js";
import { vmdk } from "../../../../src/formats/vmdk/vmdk.js";
import { vpc } from "../../../../src/formats/vpc/vpc.js";
import { random } from "../../../support/random.js";
import { makeWorld } from "../../../support/world.js";

const MiB = 1 << 20;
/** As `convert` copies. */
const PIECE = 2 * MiB;
const PIECES = 16;

/** Host writes a piece may take: VHDs carry a bitmap in front of each block and a footer behind the last one. */
const writesOf = (driver: Driver, options: Record<string, unknown>): number =>
  driver === vpc && options["subformat"] !== "fixed" ? 3 : 1;

const formats: readonly [Driver, Record<string, unknown>][] = [
  [raw, {}],
  [qcow2, {}],
  [qcow2, { cluster_size: 4096 }],
  [qed, {}],
  [qcow, {}],
  [vdi, {}],
  [vdi, { static: true }],
  [vpc, { force_size: true }],
  [vpc, { force_size: true, subformat: "fixed" }],
  [vhdx, {}],
  [vhdx, { block_size: MiB }],
  [vhdx, { subformat: "fixed" }],
  [vmdk, {}],
  [vmdk, { subformat: "monolithicFlat" }],
  [parallels, {}],
  [parallels, { cluster_size: 65536 }],
];

/** Requests at the files below by verb, and the bytes written. */
type Count = Partial<Record<string, number>>;

for (const [driver, options] of formats) {
  test(`${driver.name} ${JSON.stringify(options)}: copies take few requests`, async () => {
    let count: Count = {};
    const add = (what: string, n: number): void => void (count[what] = (count[what] ?? 0) + n);
    const world = makeWorld({
      mode: "seeded",
      drivers: formats.map(([each]) => each),
      before: (request) => {
        if (!(request instanceof StorageRequest)) return;
        add(request.verb, 1);
        if (request.verb === "write") add("bytes", request.length);
      },
    });
    const counted = async (work: () => Promise<void>): Promise<Count> => {
      count = {};
      await work();
      return count;
    };
    const atMost = (what: string, found: Count, limits: Count): void => {
      for (const [verb, limit] of Object.entries(limits))
        assert.ok(
          (found[verb] ?? 0) <= limit!,
          `${what}: ${verb} ${found[verb]}, at most ${limit}; all: ${JSON.stringify(found)}`,
        );
    };
    await world.create(driver.name, "image", PIECES * PIECE, options);
    const buffer = new Uint8Array(PIECE).fill(7);

    const node = await world.open(driver.name, "image");
    const copy = await counted(async () => {
      for (let i = 0; i < PIECES; i++) await world.run(write(node, buffer, i * PIECE));
    });
    // Marks in headers come before the first change, some behind a flush.
    const writes = writesOf(driver, options) * PIECES + 2;
    atMost("copying in", copy, { write: writes, bytes: PIECES * PIECE + 65536, read: PIECES + 4, flush: 2, truncate: PIECES });
    const end = await counted(async () => {
      await world.run(flush(node));
      await world.close(node);
    });
    atMost("the end", end, { write: 24, bytes: 131072, flush: 8, truncate: 1 });

    const again = await world.open(driver.name, "image", {});
    const out = await counted(async () => {
      for (let i = 0; i < PIECES; i++) await world.run(read(again, buffer, i * PIECE));
    });
    atMost("copying out", out, { read: 2 * PIECES + 4, write: 0, flush: 0 });
    await world.close(again);
  });
}

test("what cannot be compressed is stored in runs between what can", async () => {
  const CLUSTER = 65536;
  let writes: number[] = [];
  const world = makeWorld({
    mode: "seeded",
    drivers: [qcow2, raw],
    before: (request) => {
      if (request instanceof StorageRequest && request.verb === "write") writes.push(request.length);
    },
  });
  // The last cluster is one in part only.
  const kinds = "nnnnnnnnnnttnnnntnnnnnnnnnnnnnnn";
  const size = (kinds.length - 1) * CLUSTER + 40 * 1024;
  const content = new Uint8Array(size);
  const noise = random(1).bytes(size);
  for (let at = 0, i = 0; at < size; at += CLUSTER, i++) {
    if (kinds[i] === "n") content.set(noise.subarray(at, at + CLUSTER), at);
    else content.fill(97 + i, at, at + CLUSTER);
  }
  await world.create("qcow2", "image", size);
  const node = await world.open("qcow2", "image");
  writes = [];
  await world.run(write(node, content, 0, { compressed: true }));
  const large = writes.filter((length) => length > CLUSTER).sort((a, b) => a - b);
  assert.equal(large, [4 * CLUSTER, 10 * CLUSTER, 14 * CLUSTER + 40 * 1024]);
  const compressed = writes.filter((length) => length < 1024);
  assert.ok(compressed.length >= 3, JSON.stringify(writes));
  await world.run(flush(node));
  await world.close(node);
  const again = await world.open("qcow2", "image", {});
  const back = new Uint8Array(size);
  await world.run(read(again, back, 0));
  assert.ok(Buffer.from(back).equals(Buffer.from(content)));
  await world.close(again);
});

test.run();
