/**
 * One seeded sequence of operations on a random image against a flat byte model.
 *
 * Everything is drawn from the seed: how Ops are driven, the format, its options, the backing chain, the operations. At the end the
 * image must read as the model, before and after reopening, and a check must find nothing. A failure names the seed and the last steps.
 */
import { BlockError } from "../../src/base/error.js";
import { discard, flush, read, truncate, write, writeZeroes } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import type { Op } from "../../src/block/op.js";
import { blockStatus } from "../../src/block/status.js";
import { qcow2 } from "../../src/formats/qcow2/qcow2.js";
import { raw } from "../../src/formats/raw/raw.js";
import { assertBytes, content, isClean, range } from "../conformance/driver-suite.js";
import { between, weighted } from "../support/choices.js";
import { random, type Random } from "../support/random.js";
import { makeWorld, type Mode, type World } from "../support/world.js";

/** What a finished sequence leaves for other judges. */
export interface SequenceResult {
  seed: number;
  world: World;
  format: string;
  /** What the guest must read. */
  model: Uint8Array;
  steps: number;
  description: string;
}

interface Layer {
  name: string;
  format: "raw" | "qcow2";
  clusterSize: number;
  version: 2 | 3;
  options: Record<string, unknown>;
  dataFile: boolean;
}

const NAME = "top";

export class SequenceError extends Error {}

export async function runSequence(seed: number, mode: Mode): Promise<SequenceResult> {
  const sequence = new Sequence(seed, mode);
  try {
    return await sequence.run();
  } catch (error) {
    throw new SequenceError(`seed ${seed} (${mode}): ${(error as Error).message}\n${sequence.story()}`, { cause: error });
  }
}

class Sequence {
  readonly #seed: number;
  readonly #random: Random;
  readonly #plain: boolean;
  readonly #world: World;
  readonly #log: string[] = [];
  #description = "";
  #layer!: Layer;
  #hasBacking = false;
  #runtime: Record<string, unknown> = {};
  #unmap = true;
  #node!: Node;
  #model: Uint8Array = new Uint8Array(0);

  constructor(seed: number, mode: Mode) {
    this.#seed = seed;
    this.#random = random(seed);
    this.#plain = this.#random.chance(0.2);
    this.#world = makeWorld({ mode, drivers: [raw, qcow2], seed: seed ^ 0x5bd1e995, plain: this.#plain });
  }

  story(): string {
    return [this.#description, ...this.#log.slice(-40)].join("\n  ");
  }

  async run(): Promise<SequenceResult> {
    await this.#build();
    await this.#open();
    const steps = between(this.#random, 15, 45);
    for (let step = 0; step < steps; step++) await this.#step();
    await this.#compare("at the end");
    await this.#close();
    const node = await this.#world.open(this.#layer.format, NAME, { write: false });
    try {
      assertBytes(await content(this.#world, node), this.#model, "after the last opening");
    } finally {
      await this.#world.close(node);
    }
    await isClean(this.#world, this.#layer.format, NAME);
    return {
      seed: this.#seed,
      world: this.#world,
      format: this.#layer.format,
      model: this.#model,
      steps,
      description: this.#description,
    };
  }

  // ---- the image --------------------------------------------------------------------------------------------------

  #chooseLayer(name: string, mayHaveDataFile: boolean): Layer {
    const random = this.#random;
    const format = random.chance(0.12) ? "raw" : "qcow2";
    if (format === "raw") return { name, format, clusterSize: 1, version: 3, options: {}, dataFile: false };
    const version = random.chance(0.2) ? 2 : 3;
    const clusterSize = random.pick([512, 512, 1024, 4096, 16384, 65536, 65536, 65536, 1048576]);
    const options: Record<string, unknown> = { compat: version === 2 ? "0.10" : "1.1", cluster_size: clusterSize };
    let dataFile = false;
    if (version === 3) {
      if (random.chance(0.4)) options["refcount_bits"] = random.pick([1, 2, 4, 8, 16, 32, 64]);
      if (random.chance(0.2)) options["lazy_refcounts"] = true;
      if (clusterSize >= 16384 && random.chance(0.35)) options["extended_l2"] = true;
      if (mayHaveDataFile && random.chance(0.08)) {
        dataFile = true;
        options["data_file"] = `${name}.data`;
        if (random.chance(0.4)) options["data_file_raw"] = true;
      }
    }
    if (random.chance(0.12)) options["preallocation"] = random.pick(["metadata", "falloc", "full"]);
    return { name, format, clusterSize, version, options, dataFile };
  }

  #chooseSize(layer: Layer): number {
    const random = this.#random;
    const most = layer.clusterSize <= 1024 ? 400_000 : layer.clusterSize >= 1048576 ? 6_000_000 : 2_500_000;
    const size = 1 + random.int(random.chance(0.2) ? 70_000 : most);
    // Sizes at creation are rounded up to sectors by every format; resizing raw is not.
    return Math.max(512, size - (size % 512));
  }

  async #build(): Promise<void> {
    const random = this.#random;
    let below: Layer | null = null;
    let model = new Uint8Array(0);
    const depth = random.chance(0.45) ? (random.chance(0.3) ? 2 : 1) : 0;
    for (let level = depth; level >= 0; level--) {
      const layer = this.#chooseLayer(level === 0 ? NAME : `base${level}`, depth === 0);
      if (below !== null && layer.format === "raw")
        Object.assign(layer, { format: "qcow2", clusterSize: 65536, version: 3, options: {} });
      const preallocated = layer.options["preallocation"];
      if (below !== null && preallocated !== undefined) delete layer.options["preallocation"];
      const size = this.#chooseSize(layer);
      const options = below === null ? layer.options : { ...layer.options, backing_file: below.name, backing_fmt: below.format };
      this.#description += `${level === depth ? "" : " <- "}${layer.name}: ${layer.format} ${size} ${JSON.stringify(options)}`;
      await this.#world.create(layer.format, layer.name, size, options);
      const next = new Uint8Array(size);
      next.set(model.subarray(0, size));
      model = next;
      if (level > 0) {
        const node = await this.#world.open(layer.format, layer.name, { write: true, unmap: true });
        for (let i = random.int(12); i > 0; i--) {
          const { offset, length } = this.#range(size, layer.clusterSize);
          const bytes = this.#bytes(length);
          model.set(bytes, offset);
          await this.#world.run(write(node, bytes, offset));
        }
        await this.#world.close(node);
      } else {
        this.#layer = layer;
        this.#hasBacking = below !== null;
      }
      below = layer;
    }
    this.#model = model;
    if (this.#layer.format === "qcow2" && random.chance(0.5)) {
      this.#runtime = { "l2-cache-entry-size": 512, "l2-cache-size": 1024, "refcount-cache-size": 1024 };
    }
    if (this.#layer.format === "qcow2" && this.#layer.version === 3 && random.chance(0.1))
      this.#runtime["discard-no-unref"] = true;
    this.#unmap = !random.chance(0.1);
    this.#description += ` | ${this.#plain ? "plain storage, " : ""}unmap ${this.#unmap}, ${JSON.stringify(this.#runtime)}`;
  }

  async #open(): Promise<void> {
    this.#node = await this.#world.open(this.#layer.format, NAME, { write: true, unmap: this.#unmap }, { ...this.#runtime });
  }
  #close(): Promise<void> {
    return this.#world.close(this.#node);
  }

  // ---- choices ----------------------------------------------------------------------------------------------------

  #range(size: number, clusterSize: number): { offset: number; length: number } {
    const random = this.#random;
    const unit = random.pick([1, 512, Math.max(1, clusterSize / 32), clusterSize, clusterSize]);
    const cluster = Math.max(clusterSize, 512);
    const longest = weighted(random, { tiny: 3, clusters: 5, long: 2 });
    const most = Math.min(size, 700_000, longest === "tiny" ? 700 : longest === "clusters" ? 4 * cluster : 40 * cluster);
    let length = 1 + random.int(most);
    let offset = random.int(size - length + 1);
    if (random.chance(0.1)) offset = size - length;
    if (unit > 1) {
      offset -= offset % unit;
      length = Math.min(size - offset, length + unit - (length % unit || unit));
    }
    return { offset, length: Math.max(1, length) };
  }

  #bytes(length: number): Uint8Array {
    const random = this.#random;
    const bytes = new Uint8Array(length);
    const kind = weighted(random, { noise: 5, repeat: 4, zeros: 1 });
    if (kind === "zeros") return bytes;
    const tile = random.bytes(kind === "repeat" ? between(random, 1, 16) : Math.min(length, 4099));
    for (let at = 0; at < length; at += tile.length) bytes.set(tile.subarray(0, Math.min(tile.length, length - at)), at);
    // No tile looks like another: the place is in it.
    if (kind === "noise") for (let at = 0; at < length; at += 257) bytes[at] = (at / 257) & 255;
    return bytes;
  }

  #note(text: string): void {
    this.#log.push(text);
  }

  // ---- steps ------------------------------------------------------------------------------------------------------

  async #step(): Promise<void> {
    const kind = weighted(this.#random, {
      one: 30,
      together: 14,
      read: 10,
      flush: 4,
      reopen: 4,
      resize: 4,
      compressed: 6,
      status: 2,
    });
    switch (kind) {
      case "one":
        return await this.#perform([this.#change(this.#range(this.#model.length, this.#layer.clusterSize))]);
      case "together":
        return await this.#together();
      case "read": {
        const { offset, length } = this.#range(this.#model.length, this.#layer.clusterSize);
        this.#note(`read ${offset} +${length}`);
        assertBytes(
          await range(this.#world, this.#node, offset, length),
          this.#model.subarray(offset, offset + length),
          `read at ${offset}`,
        );
        return;
      }
      case "flush":
        this.#note("flush");
        return await this.#world.run(flush(this.#node));
      case "reopen":
        this.#note("reopen");
        await this.#close();
        await this.#open();
        return await this.#compare("after reopening");
      case "resize":
        return await this.#resize();
      case "compressed":
        return await this.#compressed();
      case "status":
        return await this.#status();
    }
  }

  /** A change of a range and what the model becomes by it. */
  #change({ offset, length }: { offset: number; length: number }): { op: Op<void>; apply: () => void } {
    const model = this.#model;
    const random = this.#random;
    switch (weighted(random, { write: 6, zeroes: 2, discard: 2 })) {
      case "write": {
        const bytes = this.#bytes(length);
        this.#note(`write ${offset} +${length}`);
        return {
          op: write(this.#node, bytes, offset, random.chance(0.1) ? { fua: true } : {}),
          apply: () => model.set(bytes, offset),
        };
      }
      case "zeroes": {
        const mayUnmap = random.chance(0.5);
        this.#note(`zeroes ${offset} +${length}${mayUnmap ? " unmap" : ""}`);
        return {
          op: writeZeroes(this.#node, offset, length, { mayUnmap }),
          apply: () => void model.fill(0, offset, offset + length),
        };
      }
      case "discard": {
        this.#note(`discard ${offset} +${length}`);
        const [from, to] = this.#discarded(offset, offset + length);
        return { op: discard(this.#node, offset, length), apply: () => void model.fill(0, from, Math.max(from, to)) };
      }
    }
  }

  /** The part of a discarded range that must read as zeros; the rest must stay. */
  #discarded(from: number, to: number): [number, number] {
    if (!this.#unmap) return [from, from];
    if (this.#layer.format === "raw") return this.#plain ? [from, from] : [from, to];
    if (this.#layer.version === 2 && this.#hasBacking) return [from, from];
    const unit = this.#layer.clusterSize;
    return [Math.ceil(from / unit) * unit, to === this.#model.length ? to : to - (to % unit)];
  }

  async #perform(changes: { op: Op<void>; apply: () => void }[]): Promise<void> {
    for (const outcome of await this.#world.runAll(changes.map(({ op }) => op))) if (!outcome.ok) throw outcome.error;
    for (const { apply } of changes) apply();
  }

  /** Several requests at once on ranges that share clusters but no byte. */
  async #together(): Promise<void> {
    const random = this.#random;
    const window = this.#range(this.#model.length, this.#layer.clusterSize);
    const changes: { op: Op<void>; apply: () => void }[] = [];
    const checks: (() => void)[] = [];
    this.#note("together {");
    for (let at = window.offset; at < window.offset + window.length && changes.length < 8;) {
      const left = window.offset + window.length - at;
      const length = 1 + random.int(Math.min(left, random.chance(0.5) ? 600 : 3 * Math.max(512, this.#layer.clusterSize)));
      const offset = at;
      at += length + (random.chance(0.5) ? 0 : random.int(2000));
      if (!random.chance(0.3)) {
        changes.push(this.#change({ offset, length }));
        continue;
      }
      this.#note(`read ${offset} +${length}`);
      const into = new Uint8Array(length);
      const want = this.#model.slice(offset, offset + length);
      checks.push(() => assertBytes(into, want, `read at ${offset} beside writes`));
      changes.push({ op: read(this.#node, into, offset), apply: () => {} });
    }
    if (random.chance(0.2)) changes.push({ op: flush(this.#node), apply: () => {} });
    this.#note("}");
    await this.#perform(changes);
    for (const check of checks) check();
    assertBytes(
      await range(this.#world, this.#node, window.offset, window.length),
      this.#model.subarray(window.offset, window.offset + window.length),
      "after requests at once",
    );
  }

  async #resize(): Promise<void> {
    const random = this.#random;
    const old = this.#model.length;
    let size = random.chance(0.5) ? old + random.int(400_000) : Math.max(512, old - random.int(Math.min(old, 400_000)));
    if (this.#layer.format === "qcow2") size = Math.max(512, size - (size % 512));
    this.#note(`resize ${old} -> ${size}`);
    try {
      await this.#world.run(truncate(this.#node, size, { preallocation: "off" }));
    } catch (error) {
      // Version 2 cannot hide a larger backing file.
      if (!(error instanceof BlockError) || error.code !== "ERR_UNSUPPORTED" || this.#layer.version !== 2) throw error;
      this.#note("  refused");
      return await this.#compare("after a refused resize");
    }
    const next = new Uint8Array(size);
    next.set(this.#model.subarray(0, size));
    this.#model = next;
    if (this.#node.size !== size) throw new Error(`the size is ${this.#node.size} instead of ${size}`);
    await this.#compare("after resizing");
  }

  async #compressed(): Promise<void> {
    if (this.#layer.format !== "qcow2" || this.#layer.dataFile) return;
    const unit = this.#layer.clusterSize;
    const clusters = Math.ceil(this.#model.length / unit);
    const first = this.#random.int(clusters);
    const count = between(this.#random, 1, Math.min(6, clusters - first));
    const offset = first * unit;
    const bytes = this.#bytes(Math.min(count * unit, this.#model.length - offset));
    this.#note(`write -c ${offset} +${bytes.length}`);
    await this.#perform([
      { op: write(this.#node, bytes, offset, { compressed: true }), apply: () => this.#model.set(bytes, offset) },
    ]);
  }

  async #status(): Promise<void> {
    this.#note("status");
    const size = this.#model.length;
    for (let at = 0; at < size;) {
      const status = await this.#world.run(blockStatus(this.#node, at, size - at));
      if (status.start !== at || status.length < 1 || status.length > size - at)
        throw new Error(`status at ${at}: [${status.start}, +${status.length})`);
      if (status.zero)
        assertBytes(this.#model.subarray(at, at + status.length), new Uint8Array(status.length), `said to be zero at ${at}`);
      at += status.length;
    }
  }

  async #compare(when: string): Promise<void> {
    assertBytes(await content(this.#world, this.#node), this.#model, when);
  }
}
