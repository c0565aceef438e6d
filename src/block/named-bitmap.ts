/**
 * Dirty bitmaps that belong to a node and have a name: they follow guest writes while they are enabled, and persistent ones are
 * kept in the image. What QMP, qemu-img bitmap and block status of NBD speak of.
 *
 * A bitmap from an image is loaded when somebody first looks at it; until then it only notes what changes.
 */
import { BlockError } from "../base/error.js";
import { encodeText } from "../base/bytes.js";
import { isPowerOfTwo, KiB } from "../base/int.js";
import type { BitmapStore } from "./driver.js";
import { DirtyBitmap } from "./dirty-bitmap.js";
import { skipFilters } from "./graph.js";
import type { Node } from "./node.js";
import { Mutex, type Op } from "./op.js";
import { nextBitmapNumber, WorkBitmap } from "./work-bitmap.js";

/** Longest name, in bytes of UTF-8. */
export const MAX_BITMAP_NAME = 1023;
const MIN_GRANULARITY = 512;

/** Adds what an image holds of a bitmap to `into`. */
export type BitmapContent = (into: DirtyBitmap) => Op<void>;

export interface NamedBitmapOptions {
  name: string;
  granularity: number;
  /** Follows writes from now on. */
  enabled: boolean;
  /** Kept in the image. */
  persistent: boolean;
  /** What the image holds of it; null: nothing yet. */
  content?: BitmapContent | null;
  /** Bytes of the disk, where the node is not open yet. */
  size?: number;
  /** Was not stored properly. */
  inconsistent?: boolean;
}

export class NamedBitmap {
  readonly node: Node;
  name: string;
  persistent: boolean;
  /** Was not stored properly: only removing it makes sense. */
  readonly inconsistent: boolean;
  /** The image cannot be written: content must stay as it is. */
  readOnly = false;
  /** The image does not get it though it is persistent: it is on its way to another process, or about to be removed. */
  skipStore = false;
  /** What uses it and keeps others from changing it ("backup job"); null: nobody. */
  busy: string | null = null;
  /** See `nextBitmapNumber`. */
  number: number = nextBitmapNumber();
  #bits: DirtyBitmap;
  #enabled: boolean;
  #content: BitmapContent | null;
  readonly #loading = new Mutex();
  /** Where writes go while a job works on the content. */
  #successor: DirtyBitmap | null = null;
  #shownSuccessor: WorkBitmap | null = null;
  #released = false;
  /** Generation of the bits when they were last the same as in the image. */
  #saved: number;

  constructor(node: Node, options: NamedBitmapOptions) {
    this.node = node;
    this.name = options.name;
    this.persistent = options.persistent;
    this.inconsistent = options.inconsistent ?? false;
    this.#bits = new DirtyBitmap(options.size ?? node.size, options.granularity);
    this.#enabled = options.enabled;
    this.#content = options.content ?? null;
    this.#saved = this.#content === null ? -1 : 0;
    this.#listen();
  }

  get granularity(): number {
    return this.#bits.granularity;
  }
  get enabled(): boolean {
    return this.#enabled;
  }
  set enabled(value: boolean) {
    this.#enabled = value;
    this.#listen();
  }

  readonly #listener = (offset: number, length: number): void => {
    if (this.node.size > this.#bits.size) this.resize(this.node.size);
    (this.#successor ?? this.#bits).set(offset, length);
  };
  #listen(): void {
    if (this.#enabled && !this.inconsistent && !this.#released) this.node.writeListeners.add(this.#listener);
    else this.node.writeListeners.delete(this.#listener);
  }

  /** The content, loaded from the image if need be. */
  *load(): Op<DirtyBitmap> {
    if (this.inconsistent) throw inconsistentError(this.name);
    if (this.#content === null) return this.#bits;
    const release = yield* this.#loading.acquire();
    try {
      const content = this.#content;
      if (content !== null) {
        const stored = new DirtyBitmap(this.#bits.size, this.granularity);
        yield* content(stored);
        // Cleared meanwhile: what was stored does not count any more.
        if (this.#content === content) {
          const unchanged = !this.isChanged;
          this.#content = null;
          this.#bits.merge(stored);
          if (unchanged) this.#saved = this.#bits.generation;
        }
      }
    } finally {
      release();
    }
    return this.#bits;
  }
  get isLoaded(): boolean {
    return this.#content === null;
  }
  /** The content as far as it is in memory; all of it when `isLoaded`. */
  get bits(): DirtyBitmap {
    return this.#bits;
  }

  /** The image holds something else, or nothing. */
  get isChanged(): boolean {
    return this.#bits.generation !== this.#saved;
  }
  /** The image holds what the bitmap had at `generation`; it was loaded then. */
  markSaved(generation: number): void {
    this.#saved = generation;
  }

  clear(): void {
    this.#content = null;
    this.#bits.clearAll();
    this.#bits.generation++;
  }
  /** Other content of the same granularity (undo of a clear or merge). */
  replace(bits: DirtyBitmap): void {
    this.#content = null;
    bits.generation = this.#bits.generation + 1;
    this.#bits = bits;
  }
  resize(size: number): void {
    this.#bits.resize(size);
    this.#successor?.resize(size);
  }

  // ---- jobs -------------------------------------------------------------------------------------------------------

  /** A job takes the content: what is written from now on is noted apart. */
  freeze(user: string): void {
    checkBitmap(this);
    this.busy = user;
    this.#successor = new DirtyBitmap(this.#bits.size, this.granularity);
    this.#shownSuccessor = new WorkBitmap(this.#successor, this.#enabled);
    this.node.workBitmaps.add(this.#shownSuccessor);
  }
  #thaw(): DirtyBitmap | null {
    const successor = this.#successor;
    this.busy = null;
    this.#successor = null;
    if (this.#shownSuccessor !== null) this.node.workBitmaps.delete(this.#shownSuccessor);
    return successor;
  }
  /** The job is done with the content: only what was written meanwhile stays. */
  abdicate(): void {
    const successor = this.#thaw();
    if (successor === null) return;
    this.replace(successor);
    this.number = this.#shownSuccessor!.number;
  }
  /** The job failed: everything stays. */
  reclaim(): void {
    const successor = this.#thaw();
    if (successor !== null) this.#bits.merge(successor);
  }

  /** Takes it off the node; the image is not touched. */
  release(): void {
    this.#released = true;
    this.#listen();
    const index = this.node.bitmaps.indexOf(this);
    if (index >= 0) this.node.bitmaps.splice(index, 1);
  }
}

// ---- rules ----------------------------------------------------------------------------------------------------------

export interface BitmapRules {
  allowReadOnly?: boolean;
  allowInconsistent?: boolean;
}

function inconsistentError(name: string): BlockError {
  return new BlockError("ERR_CORRUPT", `Bitmap '${name}' is inconsistent and cannot be used`, {
    hint: "Try block-dirty-bitmap-remove to delete this bitmap from disk",
  });
}

/** Refuses a bitmap that is busy, read-only or inconsistent, unless that is allowed. */
export function checkBitmap(bitmap: NamedBitmap, rules: BitmapRules = {}): void {
  const { name } = bitmap;
  if (bitmap.busy !== null) {
    throw new BlockError("ERR_BUSY", `Bitmap '${name}' is currently in use by another operation and cannot be used`);
  }
  if (bitmap.readOnly && rules.allowReadOnly !== true)
    throw new BlockError("ERR_READ_ONLY", `Bitmap '${name}' is readonly and cannot be modified`);
  if (bitmap.inconsistent && rules.allowInconsistent !== true) throw inconsistentError(name);
}

/** Bytes per bit where the user says nothing: the cluster size within 4 KiB and 64 KiB. */
function defaultBitmapGranularity(node: Node): number {
  const cluster = skipFilters(node).impl.blockInfo?.().clusterSize ?? 0;
  return cluster > 0 ? Math.min(64 * KiB, Math.max(4 * KiB, cluster)) : 64 * KiB;
}

export function findBitmap(node: Node, name: string): NamedBitmap | null {
  return node.bitmaps.find((bitmap) => bitmap.name === name) ?? null;
}

/** The bitmap of that name. @throws BlockError "Dirty bitmap 'x' not found" */
export function getBitmap(node: Node, name: string): NamedBitmap {
  const bitmap = findBitmap(node, name);
  if (bitmap === null) throw new BlockError("ERR_NOT_FOUND", `Dirty bitmap '${name}' not found`);
  return bitmap;
}

/** Puts a bitmap on a node, the newest first. */
export function attachBitmap(bitmap: NamedBitmap): NamedBitmap {
  bitmap.node.bitmaps.unshift(bitmap);
  return bitmap;
}

function storeOf(node: Node): BitmapStore | undefined {
  const impl = node.impl;
  return impl.shape === "mapped" ? impl.bitmaps : undefined;
}

// ---- verbs, as QMP has them -----------------------------------------------------------------------------------------

export interface AddBitmapOptions {
  name: string;
  granularity?: number | undefined;
  persistent?: boolean;
  disabled?: boolean;
}

/** block-dirty-bitmap-add. A persistent one is stored when the node is closed or becomes read-only. */
export function addBitmap(node: Node, options: AddBitmapOptions): NamedBitmap {
  const { name } = options;
  if (name === "") throw new BlockError("ERR_INVALID_ARGUMENT", "Bitmap name cannot be empty");
  const granularity = options.granularity ?? defaultBitmapGranularity(node);
  if (options.granularity !== undefined && (granularity < MIN_GRANULARITY || !isPowerOfTwo(granularity))) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "Granularity must be power of 2 and at least 512");
  }
  if (options.persistent === true) {
    const store = storeOf(node);
    if (store === undefined) {
      throw new BlockError("ERR_UNSUPPORTED", `Can't store persistent bitmaps to ${node.nodeName}: Operation not supported`, {
        errno: "ENOTSUP",
      });
    }
    store.checkNew(name, granularity);
  }
  if (findBitmap(node, name) !== null) throw new BlockError("ERR_EXISTS", `Bitmap already exists: ${name}`);
  if (encodeText(name).length > MAX_BITMAP_NAME) throw new BlockError("ERR_INVALID_ARGUMENT", `Bitmap name too long: ${name}`);
  return attachBitmap(
    new NamedBitmap(node, { name, granularity, enabled: options.disabled !== true, persistent: options.persistent === true }),
  );
}

/** block-dirty-bitmap-remove: from the node, and at once from the image. */
export function* removeBitmap(node: Node, name: string): Op<void> {
  const bitmap = getBitmap(node, name);
  checkBitmap(bitmap, { allowInconsistent: true });
  yield* removeFromImage(bitmap);
  bitmap.release();
}
/** The image loses it at once; it stays on the node, and is stored again unless `skipStore` says otherwise. */
export function* removeFromImage({ node, name, persistent }: NamedBitmap): Op<void> {
  if (persistent) yield* storeOf(node)?.remove(name) ?? nothing();
}
// eslint-disable-next-line require-yield
function* nothing(): Op<void> {}

/** block-dirty-bitmap-clear */
export function clearBitmap(node: Node, name: string): void {
  const bitmap = getBitmap(node, name);
  checkBitmap(bitmap);
  bitmap.clear();
}

/** block-dirty-bitmap-enable and -disable */
export function enableBitmap(node: Node, name: string, enabled: boolean): void {
  const bitmap = getBitmap(node, name);
  checkBitmap(bitmap, { allowReadOnly: true });
  bitmap.enabled = enabled;
}

/** Gives a bitmap another name; the image has it when the node is closed or becomes read-only. */
export function renameBitmap(node: Node, name: string, to: string): void {
  const bitmap = getBitmap(node, name);
  checkBitmap(bitmap);
  if (to === "") throw new BlockError("ERR_INVALID_ARGUMENT", "Bitmap name cannot be empty");
  if (encodeText(to).length > MAX_BITMAP_NAME) throw new BlockError("ERR_INVALID_ARGUMENT", `Bitmap name too long: ${to}`);
  if (to !== name && findBitmap(node, to) !== null) throw new BlockError("ERR_EXISTS", `Bitmap already exists: ${to}`);
  const store = storeOf(node);
  if (bitmap.persistent && store !== undefined) store.rename(name, to);
  bitmap.name = to;
}

/** block-dirty-bitmap-merge: all sources or, when one of them cannot be used, none. */
export function* mergeBitmaps(node: Node, target: string, sources: readonly { node: Node; name: string }[]): Op<void> {
  const bitmap = getBitmap(node, target);
  const collected = new DirtyBitmap(node.size, bitmap.granularity);
  for (const source of sources) {
    const from = getBitmap(source.node, source.name);
    checkBitmap(from, { allowReadOnly: true });
    const bits = yield* from.load();
    if (bits.size !== collected.size) throw sizesDiffer(collected.size, bits.size);
    collected.merge(bits);
  }
  checkBitmap(bitmap);
  const bits = yield* bitmap.load();
  if (bits.size !== collected.size) throw sizesDiffer(bits.size, collected.size);
  bits.merge(collected);
}

function sizesDiffer(destination: number, source: number): BlockError {
  return new BlockError(
    "ERR_INVALID_ARGUMENT",
    `Bitmaps are of different sizes (destination size is ${destination}, source size is ${source}) and can't be merged`,
  );
}
