// time-limit: 240 s
/**
 * Random sequences of operations on the block formats (VDI, Parallels, VHD, VMDK, VHDX, QED, qcow, cow, encrypted qcow2) against a flat model, in each way of driving Ops; some with
 * failing writes. SEED=n starts at another seed, BLOCKCORE_SEEDS=n runs that many sequences a format, BLOCKCORE_FORMAT=text
 * those only whose name contains it: "vmdk", "over a parent".
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError, errnoError } from "../../../../src/base/error.js";
import type { BlockdevOptions } from "../../../../src/block/context.js";
import type { Driver } from "../../../../src/block/driver.js";
import { discard, flush, read, truncate, write, writeZeroes } from "../../../../src/block/io.js";
import type { Node } from "../../../../src/block/node.js";
import { StorageRequest, type Op } from "../../../../src/block/op.js";
import { blockStatus } from "../../../../src/block/status.js";
import { cow } from "../../../../src/formats/cow/cow.js";
import { parallels } from "../../../../src/formats/parallels/parallels.js";
import { qcow } from "../../../../src/formats/qcow/qcow.js";
import { qcow2 } from "../../../../src/formats/qcow2/qcow2.js";
import { qed } from "../../../../src/formats/qed/qed.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { vdi } from "../../../../src/formats/vdi/vdi.js";
import { vhdx } from "../../../../src/formats/vhdx/vhdx.js";
import { vmdk } from "../../../../src/formats/vmdk/vmdk.js";
import { vpc } from "../../../../src/formats/vpc/vpc.js";
import { chooseSeed, random, type Random } from "../../../support/random.js";
import { makeWorld, MODES, type Mode, type World } from "../../../support/world.js";

const seeds = Number(process.env["BLOCKCORE_SEEDS"] ?? 50);
const first = chooseSeed();
/** Requests that may be made to fail. */
const CHANGES: readonly string[] = ["write", "flush", "truncate", "writeZeroes", "discard"];

interface Format {
  driver: Driver;
  options(random: Random): Record<string, unknown>;
  /** The unit of allocation, for interesting places. */
  unit(options: Record<string, unknown>): number;
  canCheck: boolean;
  /** The image is made over another one of its format, which has these options. */
  parent?: Record<string, unknown>;
  /** Options to open it with. */
  open?: BlockdevOptions;
  /** What `create` does not do for the new image. */
  finish?(world: World): void;
}

/** For formats whose images do not name what they lie over. */
const overParent = (driver: string): BlockdevOptions => ({
  backing: { driver, file: { driver: "file", filename: "parent" } },
});

/** Makes a new VDI a differencing one: its type, and the UUID of some parent. */
function differencingVdi(world: World): void {
  const file = world.files.get("image")!.sync;
  file.write(new Uint8Array([4, 0, 0, 0]), 76);
  file.write(new Uint8Array(16).fill(7), 424);
}

const formats: readonly Format[] = [
  {
    driver: vdi,
    options: () => ({}),
    parent: {},
    open: overParent("vdi"),
    finish: differencingVdi,
    unit: () => 1 << 20,
    canCheck: true,
  },
  {
    driver: parallels,
    options: () => ({ cluster_size: 65536 }),
    parent: { cluster_size: 4096 },
    open: overParent("parallels"),
    unit: () => 65536,
    canCheck: true,
  },
  {
    driver: vmdk,
    options: (chance) => ({ backing_file: "parent", zeroed_grain: chance.chance(0.5) }),
    parent: { subformat: "twoGbMaxExtentSparse" },
    unit: () => 65536,
    canCheck: true,
  },
  { driver: vdi, options: (chance) => ({ static: chance.chance(0.2) }), unit: () => 1 << 20, canCheck: true },
  {
    driver: parallels,
    options: (chance) => ({ cluster_size: chance.pick([512, 4096, 65536, 1 << 20]) }),
    unit: (options) => options["cluster_size"] as number,
    canCheck: true,
  },
  {
    driver: vpc,
    options: (chance) => ({ force_size: true, subformat: chance.chance(0.25) ? "fixed" : "dynamic" }),
    unit: () => 2 << 20,
    canCheck: false,
  },
  {
    driver: vpc,
    options: () => ({ backing_file: "parent" }),
    parent: { force_size: true },
    unit: () => 2 << 20,
    canCheck: false,
  },
  {
    driver: vmdk,
    options: (chance) => ({
      subformat: chance.pick([
        "monolithicSparse",
        "monolithicSparse",
        "monolithicFlat",
        "twoGbMaxExtentSparse",
        "twoGbMaxExtentFlat",
      ]),
      ...(chance.chance(0.3) ? { subformat: "monolithicSparse", zeroed_grain: true } : {}),
    }),
    unit: () => 65536,
    canCheck: true,
  },
  {
    driver: vhdx,
    options: (chance) => ({
      block_size: chance.pick([1 << 20, 1 << 20, 8 << 20]),
      subformat: chance.chance(0.2) ? "fixed" : "dynamic",
      block_state_zero: chance.chance(0.5),
    }),
    unit: () => 1 << 20,
    canCheck: true,
  },
  {
    driver: vhdx,
    options: (chance) => ({ backing_file: "parent", block_size: chance.pick([1 << 20, 4 << 20]) }),
    parent: { block_size: 1 << 20 },
    unit: () => 1 << 20,
    canCheck: true,
  },
  {
    driver: qed,
    options: (chance) => chance.pick([{}, { cluster_size: 4096, table_size: 2 }, { cluster_size: 1 << 20 }]),
    unit: (options) => (options["cluster_size"] as number | undefined) ?? 65536,
    canCheck: true,
  },
  { driver: qcow, options: () => ({}), unit: () => 4096, canCheck: false },
  { driver: cow, options: () => ({}), unit: () => 512, canCheck: false },
  { driver: cow, options: () => ({ backing_file: "parent" }), parent: {}, unit: () => 512, canCheck: false },
  {
    driver: qcow,
    options: () => ({ "encrypt.format": "aes", "encrypt.key-secret": "sec0" }),
    unit: () => 4096,
    canCheck: false,
    open: { encrypt: { "key-secret": "sec0" } },
  },
  {
    driver: qcow2,
    options: (chance) => ({
      "encrypt.format": "aes",
      "encrypt.key-secret": "sec0",
      cluster_size: chance.pick([512, 4096, 65536]),
    }),
    unit: (options) => options["cluster_size"] as number,
    canCheck: true,
    open: { encrypt: { "key-secret": "sec0" } },
  },
];

class Sequence {
  readonly log: string[] = [];
  readonly #random: Random;
  readonly #world: World;
  readonly #format: Format;
  readonly #options: Record<string, unknown>;
  readonly #canFail: boolean;
  #failing = false;
  #node!: Node;
  #model: Uint8Array;
  /** Bytes that a failed request may or may not have changed. */
  #unsure: Uint8Array;

  constructor(seed: number, mode: Mode, format: Format) {
    this.#random = random(seed);
    this.#format = format;
    this.#options = format.options(this.#random);
    this.#canFail = mode === "seeded" && this.#random.chance(0.4);
    this.#world = makeWorld({
      mode,
      drivers: [raw, vdi, vpc, parallels, vmdk, vhdx, qed, qcow, cow, qcow2],
      secrets: { sec0: "a passphrase" },
      seed: seed ^ 0x2545f491,
      plain: this.#random.chance(0.2),
      before: (request) => {
        if (!this.#failing || !(request instanceof StorageRequest)) return;
        if (CHANGES.includes(request.verb) && this.#random.chance(0.08))
          throw errnoError(this.#random.chance(0.5) ? "ENOSPC" : "EIO");
      },
    });
    const size = 512 * (1 + this.#random.int(12000));
    this.#model = new Uint8Array(size);
    this.#unsure = new Uint8Array(size);
  }

  async run(): Promise<void> {
    const world = this.#world;
    const { driver } = this.#format;
    this.log.push(`${driver.name} ${this.#model.length} ${JSON.stringify(this.#options)}`);
    if (this.#format.parent !== undefined) await this.#makeParent(this.#format.parent);
    await world.create(driver.name, "image", this.#model.length, this.#options);
    this.#format.finish?.(world);
    await this.#open();
    const steps = 10 + this.#random.int(25);
    for (let i = 0; i < steps; i++) {
      this.#failing = this.#canFail && this.#random.chance(0.4);
      await this.#step();
      this.#failing = false;
    }
    await this.#compare();
    await world.close(this.#node);
    await this.#open();
    await this.#compare();
    if (this.#format.canCheck) {
      const impl = this.#node.impl;
      const problems: string[] = [];
      const found = await world.run(
        impl.shape === "mapped" ? impl.check!({ fix: "none", report: ({ text }) => void problems.push(text) }) : none(),
      );
      assert.is(found?.corruptions ?? 0, 0, problems.join("; "));
      if (!this.#canFail) assert.is(found?.leaks ?? 0, 0, problems.join("; "));
    }
    await world.close(this.#node);
  }

  async #makeParent(options: Record<string, unknown>): Promise<void> {
    const world = this.#world;
    const { name } = this.#format.driver;
    await world.create(name, "parent", this.#model.length, options);
    const parent = await world.open(name, "parent", { write: true });
    for (let i = this.#random.int(8); i > 0; i--) {
      const { offset, length } = this.#range(this.#model.length);
      this.#model.fill(this.#random.int(256), offset, offset + length);
      await world.run(write(parent, this.#model.subarray(offset, offset + length), offset));
    }
    await world.close(parent);
  }

  async #open(): Promise<void> {
    this.#node = await this.#world.open(
      this.#format.driver.name,
      "image",
      { write: true, unmap: this.#random.chance(0.8) },
      this.#format.open,
    );
  }

  async #step(): Promise<void> {
    const kind = this.#random.pick([
      "change",
      "change",
      "change",
      "together",
      "together",
      "read",
      "flush",
      "reopen",
      "status",
      "resize",
    ]);
    switch (kind) {
      case "change":
        return await this.#perform([this.#change(this.#range(this.#model.length))]);
      case "together":
        return await this.#together();
      case "read":
        return await this.#compare();
      case "flush":
        this.log.push("flush");
        await this.#tolerate(this.#world.run(flush(this.#node)));
        return;
      case "reopen":
        this.#failing = false;
        this.log.push("reopen");
        await this.#world.close(this.#node);
        return await this.#open();
      case "status":
        return await this.#status();
      case "resize":
        return await this.#resize();
    }
  }

  async #tolerate(work: Promise<unknown>): Promise<boolean> {
    try {
      await work;
      return true;
    } catch (error) {
      if (!this.#failing || !(error instanceof BlockError)) throw error;
      this.log.push(`  failed: ${error.message}`);
      return false;
    }
  }

  #range(size: number): { offset: number; length: number } {
    const chance = this.#random;
    const unit = this.#format.unit(this.#options);
    const length = 1 + chance.int(Math.min(size, chance.pick([600, 5000, 70_000, 3 * unit])));
    let offset = chance.int(size - length + 1);
    if (chance.chance(0.3)) offset -= offset % unit;
    if (chance.chance(0.1)) offset = size - length;
    return { offset, length };
  }

  #change({ offset, length }: { offset: number; length: number }): { op: Op<void>; apply(ok: boolean): void } {
    const chance = this.#random;
    const kind = chance.pick(["write", "write", "write", "zeroes", "discard"]);
    this.log.push(`${kind} ${offset} +${length}`);
    const settle = (value: Uint8Array | null) => (ok: boolean) => {
      const range = [offset, offset + length] as const;
      if (!ok || kind === "discard") this.#unsure.fill(1, ...range);
      if (!ok || kind === "discard") return;
      this.#unsure.fill(0, ...range);
      if (value === null) this.#model.fill(0, ...range);
      else this.#model.set(value, offset);
    };
    if (kind === "zeroes")
      return { op: writeZeroes(this.#node, offset, length, { mayUnmap: chance.chance(0.5) }), apply: settle(null) };
    if (kind === "discard") return { op: discard(this.#node, offset, length), apply: settle(null) };
    const bytes = new Uint8Array(length);
    const tile = chance.bytes(Math.min(length, 251));
    for (let at = 0; at < length; at += tile.length) bytes.set(tile.subarray(0, Math.min(tile.length, length - at)), at);
    return { op: write(this.#node, bytes, offset, chance.chance(0.1) ? { fua: true } : {}), apply: settle(bytes) };
  }

  async #perform(changes: { op: Op<void>; apply(ok: boolean): void }[]): Promise<void> {
    const outcomes = await this.#world.runAll(changes.map(({ op }) => op));
    outcomes.forEach((outcome, i) => {
      if (!outcome.ok) {
        if (!this.#failing || !(outcome.error instanceof BlockError)) throw outcome.error;
        this.log.push(`  failed: ${outcome.error.message}`);
      }
      changes[i]!.apply(outcome.ok);
    });
  }

  async #together(): Promise<void> {
    const chance = this.#random;
    const size = this.#model.length;
    const changes: { op: Op<void>; apply(ok: boolean): void }[] = [];
    this.log.push("together {");
    for (let at = chance.int(size); at < size && changes.length < 7;) {
      const length = 1 + chance.int(Math.min(size - at, chance.pick([600, 20_000, 2 * this.#format.unit(this.#options)])));
      changes.push(this.#change({ offset: at, length }));
      at += length + chance.int(3000);
    }
    if (chance.chance(0.4)) changes.push({ op: flush(this.#node), apply: () => {} });
    this.log.push("}");
    await this.#perform(changes);
  }

  async #status(): Promise<void> {
    const size = this.#model.length;
    for (let at = 0; at < size;) {
      const status = await this.#world.run(blockStatus(this.#node, at, size - at));
      if (status.start !== at || status.length < 1 || status.length > size - at)
        throw new Error(`status at ${at}: [${status.start}, +${status.length})`);
      if (status.zero)
        for (let i = at; i < at + status.length; i++)
          if (this.#model[i] !== 0 && this.#unsure[i] === 0) throw new Error(`said to be zero at ${i}`);
      at += status.length;
    }
  }

  async #resize(): Promise<void> {
    this.#failing = false;
    const size = this.#model.length + 512 * this.#random.int(3000);
    this.log.push(`resize to ${size}`);
    try {
      await this.#world.run(truncate(this.#node, size, { preallocation: "off" }));
    } catch (error) {
      // There is only so much room for a larger table.
      if (!(error instanceof BlockError) || error.code !== "ERR_UNSUPPORTED") throw error;
      this.log.push(`  refused: ${error.message}`);
      return;
    }
    const grow = (bytes: Uint8Array): Uint8Array => {
      const next = new Uint8Array(size);
      next.set(bytes);
      return next;
    };
    this.#model = grow(this.#model);
    this.#unsure = grow(this.#unsure);
    assert.is(this.#node.size, size);
  }

  async #compare(): Promise<void> {
    const bytes = new Uint8Array(this.#model.length);
    await this.#world.run(read(this.#node, bytes, 0));
    for (let i = 0; i < bytes.length; i++) {
      if (bytes[i] !== this.#model[i] && this.#unsure[i] === 0)
        throw new Error(`byte ${i} is ${bytes[i]} instead of ${this.#model[i]}`);
    }
  }
}

// eslint-disable-next-line require-yield
function* none(): Op<undefined> {
  return undefined;
}

const only = process.env["BLOCKCORE_FORMAT"];
for (const format of formats) {
  const name = `${format.driver.name}${format.parent === undefined ? "" : " over a parent"}`;
  if (only !== undefined && !name.includes(only)) continue;
  for (const mode of MODES) {
    // Images over parents are slower, and most of their code is that of the others.
    const count = Math.ceil(seeds / MODES.length / (format.parent === undefined ? 1 : 4));
    test(`${name}: ${count} random sequences, ${mode}`, async () => {
      console.log(`SEED=${first} (${name}, ${mode})`);
      for (let i = 0; i < count; i++) {
        const sequence = new Sequence(first + i, mode, format);
        try {
          await sequence.run();
        } catch (error) {
          throw new Error(`seed ${first + i} (${mode}): ${(error as Error).stack}\n  ${sequence.log.slice(-40).join("\n  ")}`, {
            cause: error,
          });
        }
      }
    });
  }
}

test.run();
