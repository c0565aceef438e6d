/**
 * `preallocate`: a file that grows by writes grows in large steps, so that many small writes behind its end do not each change its size
 * on the medium. What is too much goes when the node closes or becomes read-only.
 */
import { BlockError } from "../base/error.js";
import { alignUp, MiB } from "../base/int.js";
import type { Driver, TruncateOptions, WriteFlags } from "../block/driver.js";
import { truncate } from "../block/io.js";
import type { Child } from "../block/node.js";
import { Mutex, type Op } from "../block/op.js";
import { takeSize } from "../block/take.js";
import { PassThrough } from "../block/pass-through.js";

const SECTOR = 512;

class Preallocate extends PassThrough {
  readonly #align: number;
  readonly #ahead: number;
  readonly #growing: Mutex = new Mutex();
  /** End of what was written, when the file goes on behind it; null: the file is as long as it should be. */
  #end: number | null = null;

  constructor(child: Child, align: number, ahead: number) {
    super(child);
    this.#align = align;
    this.#ahead = ahead;
  }
  override get size(): number {
    return this.#end ?? this.below.size;
  }

  *#makeRoom(end: number): Op<void> {
    if (end <= this.size) return;
    const done = yield* this.#growing.acquire();
    try {
      if (end > this.below.size) {
        const old = this.size;
        yield* truncate(this.below, alignUp(end + this.#ahead, this.#align), { preallocation: "falloc" });
        this.#end ??= old;
      }
      if (this.#end !== null && end > this.#end) this.#end = end;
    } finally {
      done();
    }
  }

  override *write(from: Uint8Array, offset: number, flags: WriteFlags): Op<void> {
    yield* this.#makeRoom(offset + from.length);
    yield* super.write(from, offset, flags);
  }
  override *writeZeroes(offset: number, length: number, flags: WriteFlags): Op<void> {
    yield* this.#makeRoom(offset + length);
    yield* super.writeZeroes(offset, length, flags);
  }

  override *truncate(size: number, options: TruncateOptions): Op<void> {
    const done = yield* this.#growing.acquire();
    try {
      if (this.#end !== null && size > this.#end) {
        // What is to be allocated is there already: it is the user's from now on.
        if (options.preallocation === "falloc" && size <= this.below.size) {
          this.#end = size;
          return;
        }
        // Our own must go: the user wants a hole, or real data, and a file cannot shrink to a size with preallocation.
        yield* this.#cut();
      }
      yield* truncate(this.below, size, options);
      this.#end = null;
    } finally {
      done();
    }
  }

  *#cut(): Op<void> {
    const end = this.#end;
    if (end === null || this.below.readOnly) return;
    this.#end = null;
    if (this.below.size > end) yield* truncate(this.below, end, { preallocation: "off", exact: true });
  }
  *accessChanging(write: boolean): Op<void> {
    if (!write) yield* this.#cut();
  }
  override *close(): Op<void> {
    yield* this.#cut();
  }
}

export const preallocate: Driver = {
  name: "preallocate",
  category: "filter",
  mutableOptions: ["prealloc-align", "prealloc-size"],
  runtimeOptions: ["file", "prealloc-align", "prealloc-size"],
  *open(context) {
    const align = takeSize(context.options, "prealloc-align") ?? MiB;
    const ahead = takeSize(context.options, "prealloc-size") ?? 128 * MiB;
    if (align === 0 || align % SECTOR !== 0) {
      throw new BlockError("ERR_INVALID_ARGUMENT", `prealloc-align parameter of preallocate filter is not aligned to ${SECTOR}`);
    }
    return new Preallocate(yield* context.openChild("file", "filtered"), align, ahead);
  },
};
