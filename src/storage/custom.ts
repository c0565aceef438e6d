/**
 * A storage from an object of the user's: anything with a size and a `read`.
 *
 * What its methods return is checked, since nobody else did: a count out of range, a promise from a source declared
 * synchronous and the like are errors that name the method.
 */
import { BlockError, toBlockError } from "../base/error.js";
import { checkInside, checkRange, checkWritable, closedError, noSpaceError, unsupportedError } from "./shared/checks.js";
import type { AsyncStorageFace, Storage, StorageExtent, SyncStorageFace, WriteZeroesFlags } from "./storage.js";

type Maybe<T> = T | Promise<T>;

export interface CustomSource {
  /** Bytes, or a function that tells the present size. A plain number grows with writes when there is a `truncate`. */
  readonly size: number | (() => Maybe<number>);
  /** Fills `into` from `at`; returns the number of bytes read, which may be less (then it is asked for the rest), 0 at the end. */
  read(into: Uint8Array, at: number): Maybe<number>;
  /** Writes all of `from`, or returns how many bytes it took. Without it the storage is read-only. */
  write?(from: Uint8Array, at: number): Maybe<number | void>;
  flush?(): Maybe<void>;
  /** Without it the size is fixed. */
  truncate?(size: number): Maybe<void>;
  writeZeroes?(at: number, length: number, flags: WriteZeroesFlags): Maybe<void>;
  discard?(at: number, length: number): Maybe<void>;
  extents?(at: number, length: number): Maybe<StorageExtent[]>;
  allocatedSize?(): Maybe<number | null>;
  close?(): Maybe<void>;
}

export interface CustomStorageOptions {
  name?: string;
  /** The methods return values, never promises: the storage gets a synchronous face instead of an asynchronous one. */
  sync?: boolean;
  readOnly?: boolean;
  fixedSize?: boolean;
  /** Required multiple of offsets and lengths in bytes; 1 when absent. */
  alignment?: number;
}

/** One request, written once for both faces: yields what a method returned, is resumed with its value. */
type Steps<T> = Generator<unknown, T, unknown>;

class Custom {
  readonly name: string;
  readonly readOnly: boolean;
  readonly alignment: number;
  readonly fixedSize: boolean;
  private knownSize: number | null;
  private closed = false;

  constructor(
    readonly source: CustomSource,
    options: CustomStorageOptions,
  ) {
    this.name = options.name ?? "custom";
    this.readOnly = options.readOnly ?? source.write === undefined;
    this.alignment = options.alignment ?? 1;
    this.fixedSize = options.fixedSize ?? source.truncate === undefined;
    this.knownSize = typeof source.size === "number" ? this.checkedSize(source.size) : null;
  }

  *read(into: Uint8Array, offset: number): Steps<number> {
    this.check("read", offset, into.length);
    const count = Math.max(0, Math.min(into.length, (yield* this.sizeNow()) - offset));
    let done = 0;
    while (done < count) {
      const got = yield this.source.read(into.subarray(done, count), offset + done);
      if (!Number.isInteger(got) || (got as number) < 0 || (got as number) > count - done)
        throw this.wrong("read", `a number of bytes between 0 and ${count - done}`, got);
      if (got === 0) break;
      done += got as number;
    }
    return done;
  }

  *write(from: Uint8Array, offset: number): Steps<void> {
    this.checkWrite("write", offset, from.length);
    if (from.length === 0) return;
    const end = offset + from.length;
    const size = yield* this.sizeNow();
    if (end > size) {
      if (this.fixedSize) throw noSpaceError(this, "write", offset);
      // The gap is the source's business only if it says so; growing first makes it zeros.
      if (offset > size) yield* this.truncate(offset);
    }
    let done = 0;
    while (done < from.length) {
      const got = yield this.source.write!(from.subarray(done), offset + done);
      if (got === undefined) break;
      if (!Number.isInteger(got) || (got as number) < 1 || (got as number) > from.length - done)
        throw this.wrong("write", `nothing or a number of bytes between 1 and ${from.length - done}`, got);
      done += got as number;
    }
    if (this.knownSize !== null && end > this.knownSize) this.knownSize = end;
  }

  *flush(): Steps<void> {
    if (this.closed) throw closedError(this.name, "flush");
    if (this.source.flush !== undefined && !this.readOnly) yield this.source.flush();
  }

  *size(): Steps<number> {
    if (this.closed) throw closedError(this.name, "size");
    return yield* this.sizeNow();
  }

  *truncate(size: number): Steps<void> {
    this.checkWrite("truncate", size, 0);
    if (size === (yield* this.sizeNow())) return;
    if (this.fixedSize || this.source.truncate === undefined) throw unsupportedError(this.name, "truncate", "the size is fixed");
    yield this.source.truncate(size);
    if (this.knownSize !== null) this.knownSize = size;
  }

  *writeZeroes(offset: number, length: number, flags: WriteZeroesFlags): Steps<void> {
    yield* this.checkInsideWrite("write-zeroes", offset, length);
    if (length > 0) yield this.source.writeZeroes!(offset, length, flags);
  }

  *discard(offset: number, length: number): Steps<void> {
    yield* this.checkInsideWrite("discard", offset, length);
    if (length > 0) yield this.source.discard!(offset, length);
  }

  *extents(offset: number, length: number): Steps<StorageExtent[]> {
    this.check("extents", offset, length);
    checkInside(this, "extents", offset, length, yield* this.sizeNow());
    if (length === 0) return [];
    const list = yield this.source.extents!(offset, length);
    if (!Array.isArray(list) || list.length === 0) throw this.wrong("extents", "a list that is not empty", list);
    const out: StorageExtent[] = [];
    let at = offset;
    for (const extent of list as (Partial<StorageExtent> | null)[]) {
      const { offset: start, length: size, data } = extent ?? {};
      if (
        start !== at ||
        !Number.isSafeInteger(size) ||
        size! <= 0 ||
        at + size! > offset + length ||
        typeof data !== "boolean"
      ) {
        throw this.wrong("extents", "runs {offset, length, data} in order and inside the range", JSON.stringify(extent));
      }
      out.push({ offset: at, length: size!, data });
      at += size!;
    }
    return out;
  }

  *allocatedSize(): Steps<number | null> {
    if (this.closed) throw closedError(this.name, "allocated-size");
    const size = yield this.source.allocatedSize!();
    if (size !== null && !(Number.isSafeInteger(size) && (size as number) >= 0))
      throw this.wrong("allocatedSize", "a size in bytes or null", size);
    return size as number | null;
  }

  *close(): Steps<void> {
    if (this.closed) return;
    this.closed = true;
    if (this.source.close !== undefined) yield this.source.close();
  }

  /** What the source threw, as a BlockError with its errno if it had one. */
  failed(error: unknown): BlockError {
    return toBlockError(error);
  }

  wrong(method: string, want: string, got: unknown): BlockError {
    return new BlockError("ERR_IO", `'${this.name}': ${method} must return ${want}, not ${String(got).slice(0, 80)}`, {
      node: this.name,
      operation: method,
    });
  }

  private *sizeNow(): Steps<number> {
    if (this.knownSize !== null) return this.knownSize;
    const { size } = this.source;
    return this.checkedSize(typeof size === "function" ? yield size.call(this.source) : size);
  }

  private checkedSize(size: unknown): number {
    if (!Number.isSafeInteger(size) || (size as number) < 0) throw this.wrong("size", "an integer between 0 and 2^53 - 1", size);
    return size as number;
  }

  private check(operation: string, offset: number, length: number): void {
    if (this.closed) throw closedError(this.name, operation);
    checkRange(this, operation, offset, length);
  }

  private checkWrite(operation: string, offset: number, length: number): void {
    this.check(operation, offset, length);
    checkWritable(this, operation);
  }

  private *checkInsideWrite(operation: string, offset: number, length: number): Steps<void> {
    this.checkWrite(operation, offset, length);
    checkInside(this, operation, offset, length, yield* this.sizeNow());
  }
}

const isThenable = (value: unknown): boolean => typeof (value as { then?: unknown } | null | undefined)?.then === "function";

function runNow<T>(custom: Custom, steps: Steps<T>): T {
  try {
    let step = steps.next();
    while (!step.done) {
      if (isThenable(step.value)) {
        // Its outcome interests nobody any more, but must not end the program.
        (step.value as Promise<unknown>).then(undefined, () => {});
        throw custom.wrong("a synchronous source", "values", "a promise");
      }
      step = steps.next(step.value);
    }
    return step.value;
  } catch (error) {
    throw custom.failed(error);
  }
}

async function runLater<T>(custom: Custom, steps: Steps<T>): Promise<T> {
  try {
    let step = steps.next();
    while (!step.done) step = steps.next(await step.value);
    return step.value;
  } catch (error) {
    throw custom.failed(error);
  }
}

/**
 * @throws BlockError ERR_INVALID_ARGUMENT for an object without `size` and `read`; calls: what the source throws, with its
 * errno if its `code` is one, ERR_IO for what it may not return
 */
export function customStorage(source: CustomSource, options: CustomStorageOptions = {}): Storage {
  if (typeof source?.read !== "function" || (typeof source.size !== "number" && typeof source.size !== "function")) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "A custom storage needs a size and a read method");
  }
  const { alignment = 1, sync = false } = options;
  if (!Number.isSafeInteger(alignment) || alignment < 1)
    throw new BlockError("ERR_INVALID_ARGUMENT", "alignment must be a positive integer");
  if (options.readOnly === false && source.write === undefined)
    throw new BlockError("ERR_INVALID_ARGUMENT", "A writable custom storage needs a write method");
  const custom = new Custom(source, options);
  const syncFace = (): SyncStorageFace => {
    const face: SyncStorageFace = {
      read: (into, offset) => runNow(custom, custom.read(into, offset)),
      write: (from, offset) => runNow(custom, custom.write(from, offset)),
      flush: () => runNow(custom, custom.flush()),
      size: () => runNow(custom, custom.size()),
      truncate: (size) => runNow(custom, custom.truncate(size)),
      close: () => runNow(custom, custom.close()),
    };
    if (source.writeZeroes)
      face.writeZeroes = (offset, length, flags) => runNow(custom, custom.writeZeroes(offset, length, flags));
    if (source.discard) face.discard = (offset, length) => runNow(custom, custom.discard(offset, length));
    if (source.extents) face.extents = (offset, length) => runNow(custom, custom.extents(offset, length));
    if (source.allocatedSize) face.allocatedSize = () => runNow(custom, custom.allocatedSize());
    return face;
  };
  const asyncFace = (): AsyncStorageFace => {
    const face: AsyncStorageFace = {
      read: (into, offset) => runLater(custom, custom.read(into, offset)),
      write: (from, offset) => runLater(custom, custom.write(from, offset)),
      flush: () => runLater(custom, custom.flush()),
      size: () => runLater(custom, custom.size()),
      truncate: (size) => runLater(custom, custom.truncate(size)),
      close: () => runLater(custom, custom.close()),
    };
    if (source.writeZeroes)
      face.writeZeroes = (offset, length, flags) => runLater(custom, custom.writeZeroes(offset, length, flags));
    if (source.discard) face.discard = (offset, length) => runLater(custom, custom.discard(offset, length));
    if (source.extents) face.extents = (offset, length) => runLater(custom, custom.extents(offset, length));
    if (source.allocatedSize) face.allocatedSize = () => runLater(custom, custom.allocatedSize());
    return face;
  };
  const { name, readOnly, fixedSize } = custom;
  return {
    kind: "custom",
    name,
    readOnly,
    alignment,
    fixedSize,
    sync: sync ? syncFace() : null,
    async: sync ? null : asyncFace(),
  };
}
