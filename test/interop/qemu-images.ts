/** What the tests with the real qemu-img and qemu-io share: making images, changing them, comparing them with a flat model. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { createImage } from "../../src/block/create.js";
import { flush, read, write, writeZeroes } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import { openNode } from "../../src/block/open.js";
import { runSync, type Op } from "../../src/block/op.js";
import { allowAll, nodeEnvironment } from "../../src/platform/node-environment.js";
import { optionText, qemu, type Options } from "../support/qemu.js";
import type { Random } from "../support/random.js";
import { tempPath } from "../support/temp.js";

export const MiB: number = 1024 * 1024;
const environment = nodeEnvironment({ faces: "sync", gate: allowAll });

/** A way to make images of a format. */
export interface Kind {
  driver: string;
  options: Options;
  /** qemu-img check knows the format. */
  check: boolean;
}

export const go = <T>(op: Op<T>): T => runSync(op);

export const openImage = (driver: string, filename: string, writable: boolean): Node =>
  go(openNode(environment, { driver, filename, flags: { write: writable, unmap: writable } }));

export const create = (driver: string, filename: string, size: number, options: Options): void =>
  go(createImage(environment, { driver: environment.drivers.get(driver)!, filename, size, options }));

/** A new folder, so that images of several files have the same names everywhere. */
export function folder(): string {
  const path = tempPath("image");
  mkdirSync(path);
  return path;
}

/** What the guest sees. */
export function contentOf(driver: string, image: string): Uint8Array {
  const node = openImage(driver, image, false);
  const bytes = new Uint8Array(node.size);
  go(read(node, bytes, 0));
  go(node.unref());
  return bytes;
}

/** Random writes and zeros through our own code, into the model too. */
export function change(node: Node, model: Uint8Array, chance: Random, count: number): void {
  for (let i = 0; i < count; i++) {
    const length = 1 + chance.int(Math.min(model.length, chance.pick([600, 70_000, 3 * MiB])));
    const offset = chance.int(model.length - length + 1);
    if (chance.chance(0.2)) {
      go(writeZeroes(node, offset, length, { mayUnmap: chance.chance(0.5) }));
      model.fill(0, offset, offset + length);
      continue;
    }
    const tile = chance.bytes(Math.min(length, 509));
    const whole = new Uint8Array(length);
    for (let at = 0; at < length; at += tile.length) whole.set(tile.subarray(0, Math.min(tile.length, length - at)), at);
    go(write(node, whole, offset));
    model.set(whole, offset);
    if (chance.chance(0.1)) go(flush(node));
  }
}

/** The real programs find nothing wrong with an image, and read the model in it. */
export function judge({ driver, check }: Pick<Kind, "driver" | "check">, image: string, model: Uint8Array): void {
  const flat = tempPath("model.raw");
  writeFileSync(flat, model);
  if (check) qemu("qemu-img", "check", "-q", "-f", driver, image);
  qemu("qemu-img", "compare", "-q", "-f", driver, "-F", "raw", image, flat);
}

/** Rounds of: we write and QEMU judges, then qemu-io writes and we read; images made by either in turn. */
export function bothWays(kind: Kind, chance: Random, rounds: number): void {
  const { driver, options } = kind;
  for (let round = 0; round < rounds; round++) {
    const image = join(folder(), `image.${driver}`);
    const asked = 512 * (1 + chance.int(24_000));
    if (round % 2 === 0) create(driver, image, asked, options);
    else qemu("qemu-img", "create", "-q", "-f", driver, ...optionText(options), image, String(asked));
    let node = openImage(driver, image, true);
    const model = new Uint8Array(node.size);
    change(node, model, chance, 20);
    go(node.unref());
    judge(kind, image, model);
    const commands: string[] = [];
    for (let i = 0; i < 8; i++) {
      const length = 512 * (1 + chance.int(Math.min(4000, Math.floor(model.length / 512))));
      const offset = 512 * chance.int((model.length - length) / 512 + 1);
      const value = chance.int(255) + 1;
      commands.push("-c", `write -P ${value} ${offset} ${length}`);
      model.fill(value, offset, offset + length);
    }
    qemu("qemu-io", "-f", driver, ...commands, image);
    assert.is(Buffer.compare(contentOf(driver, image), model), 0, "what qemu-io wrote");
    node = openImage(driver, image, true);
    change(node, model, chance, 10);
    go(node.unref());
    judge(kind, image, model);
  }
}

/** A raw file of some random data between zeros, and its content. */
export function sparseSource(path: string, chance: Random, size: number): Uint8Array {
  const content = new Uint8Array(size);
  for (let i = 0; i < 6; i++) content.set(chance.bytes(50_000), chance.int(size - 50_000));
  writeFileSync(path, content);
  return new Uint8Array(readFileSync(path));
}
