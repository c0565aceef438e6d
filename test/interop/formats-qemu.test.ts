// time-limit: 240 s
/** VDI, Parallels and VHD images with the real qemu-img and qemu-io, in both directions. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Environment } from "../../src/block/context.js";
import { createImage } from "../../src/block/create.js";
import { flush, read, write, writeZeroes } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import { openNode } from "../../src/block/open.js";
import { runSync, type Op } from "../../src/block/op.js";
import { parallels } from "../../src/formats/parallels/parallels.js";
import { vdi } from "../../src/formats/vdi/vdi.js";
import { vpc } from "../../src/formats/vpc/vpc.js";
import { nodeEnvironment } from "../../src/node-environment.js";
import { chooseSeed, random, type Random } from "../support/random.js";
import { skip } from "../support/skip.js";
import { tempPath } from "../support/temp.js";

const MiB = 1 << 20;
const hasQemu = spawnSync("qemu-img", ["--version"]).status === 0;
const environment: Environment = nodeEnvironment({ faces: "sync", formats: [vdi, vpc, parallels] });
const seed = chooseSeed();

function qemu(program: string, ...args: string[]): string {
  const run = spawnSync(program, args, { encoding: "utf8" });
  if (run.status !== 0) throw new Error(`${program} ${args.join(" ")}: ${run.stdout}${run.stderr}`);
  return run.stdout;
}
const go = <T>(op: Op<T>): T => runSync(op);

function openImage(driver: string, filename: string, writable: boolean): Node {
  return go(openNode(environment, { driver, filename, flags: { write: writable, unmap: writable } }));
}
function create(driver: string, filename: string, size: number, options: Record<string, unknown>): void {
  go(createImage(environment, { driver: environment.drivers.get(driver)!, filename, size, options }));
}
/** Options as `-o` wants them. */
function optionText(options: Record<string, unknown>): string[] {
  const text = Object.entries(options).map(
    ([name, value]) => `${name}=${value === true ? "on" : value === false ? "off" : String(value)}`,
  );
  return text.length === 0 ? [] : ["-o", text.join(",")];
}

interface Kind {
  driver: string;
  options: Record<string, unknown>;
  check: boolean;
}
const kinds: Kind[] = [
  { driver: "vdi", options: {}, check: true },
  { driver: "vdi", options: { static: true }, check: true },
  { driver: "parallels", options: {}, check: true },
  { driver: "parallels", options: { cluster_size: 65536 }, check: true },
  { driver: "vpc", options: {}, check: false },
  { driver: "vpc", options: { force_size: true }, check: false },
  { driver: "vpc", options: { subformat: "fixed" }, check: false },
  { driver: "vpc", options: { subformat: "fixed", force_size: true }, check: false },
];

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

for (const { driver, options } of kinds) {
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

/** Random writes and zeros through our own code; returns what the guest must read. */
function change(node: Node, model: Uint8Array, chance: Random, count: number): void {
  for (let i = 0; i < count; i++) {
    const length = 1 + chance.int(Math.min(model.length, chance.pick([600, 70_000, 3 * MiB])));
    const offset = chance.int(model.length - length + 1);
    if (chance.chance(0.2)) {
      go(writeZeroes(node, offset, length, { mayUnmap: chance.chance(0.5) }));
      model.fill(0, offset, offset + length);
      continue;
    }
    const bytes = chance.bytes(Math.min(length, 509));
    const whole = new Uint8Array(length);
    for (let at = 0; at < length; at += bytes.length) whole.set(bytes.subarray(0, Math.min(bytes.length, length - at)), at);
    go(write(node, whole, offset));
    model.set(whole, offset);
    if (chance.chance(0.1)) go(flush(node));
  }
}

function judge(kind: Kind, image: string, model: Uint8Array): void {
  const flat = tempPath("model.raw");
  writeFileSync(flat, model);
  if (kind.check) qemu("qemu-img", "check", "-q", "-f", kind.driver, image);
  qemu("qemu-img", "compare", "-q", "-f", kind.driver, "-F", "raw", image, flat);
}

for (const kind of kinds) {
  test(`${kind.driver} ${JSON.stringify(kind.options)}: what we write qemu reads, what qemu writes we read`, () => {
    if (!hasQemu) return skip("qemu-img is not installed");
    console.log(`SEED=${seed}`);
    const chance = random(seed);
    for (let round = 0; round < 3; round++) {
      const image = tempPath(`image.${kind.driver}`);
      const asked = 512 * (1 + chance.int(24_000));
      if (round % 2 === 0) create(kind.driver, image, asked, kind.options);
      else qemu("qemu-img", "create", "-q", "-f", kind.driver, ...optionText(kind.options), image, String(asked));
      let node = openImage(kind.driver, image, true);
      const model = new Uint8Array(node.size);
      change(node, model, chance, 20);
      go(node.unref());
      judge(kind, image, model);
      // Now qemu-io writes, aligned and not.
      const commands: string[] = [];
      for (let i = 0; i < 8; i++) {
        const length = 512 * (1 + chance.int(Math.min(4000, Math.floor(model.length / 512))));
        const offset = 512 * chance.int((model.length - length) / 512 + 1);
        const value = chance.int(255) + 1;
        commands.push("-c", `write -P ${value} ${offset} ${length}`);
        model.fill(value, offset, offset + length);
      }
      qemu("qemu-io", "-f", kind.driver, ...commands, image);
      node = openImage(kind.driver, image, true);
      const bytes = new Uint8Array(model.length);
      go(read(node, bytes, 0));
      assert.is(Buffer.compare(bytes, model), 0, "what qemu-io wrote");
      change(node, model, chance, 10);
      go(node.unref());
      judge(kind, image, model);
    }
  });
}

test("an image that qemu-img converted reads as its source, and the reverse", () => {
  if (!hasQemu) return skip("qemu-img is not installed");
  const chance = random(seed + 1);
  const folder = tempPath("convert");
  mkdirSync(folder);
  const source = join(folder, "source.raw");
  const content = new Uint8Array(9 * MiB + 512);
  for (let i = 0; i < 6; i++) content.set(chance.bytes(50_000), chance.int(content.length - 50_000));
  writeFileSync(source, content);
  for (const { driver, options } of kinds) {
    const image = join(folder, `image.${driver}`);
    qemu("qemu-img", "convert", "-O", driver, ...optionText(options), source, image);
    const node = openImage(driver, image, false);
    const bytes = new Uint8Array(node.size);
    go(read(node, bytes, 0));
    assert.is(Buffer.compare(bytes.subarray(0, content.length), content), 0, driver);
    assert.ok(
      bytes.subarray(content.length).every((byte) => byte === 0),
      `${driver}: zeros behind the source`,
    );
    go(node.unref());
  }
});

test("a grown image is what qemu takes it for", async () => {
  if (!hasQemu) return skip("qemu-img is not installed");
  const { truncate } = await import("../../src/block/io.js");
  const chance = random(seed + 2);
  for (const kind of kinds) {
    if (kind.options["static"] === true || (kind.driver === "vpc" && kind.options["force_size"] !== true)) continue;
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
