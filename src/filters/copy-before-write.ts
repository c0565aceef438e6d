/**
 * `copy-before-write`: before a cluster of the disk changes, its old content is copied to a second image, so that file and target together
 * hold the disk as it was when the filter was put in (see `snapshot-access`).
 */
import { BlockError, errnoError, toBlockError } from "../base/error.js";
import { alignDown, alignUp } from "../base/int.js";
import type { Driver, SnapshotAccess, TruncateOptions, WriteFlags } from "../block/driver.js";
import type { ExtentList } from "../block/extent.js";
import { ExtentKind } from "../block/extent.js";
import { discard, read, readPadded, write } from "../block/io.js";
import { DirtyBitmap } from "../block/dirty-bitmap.js";
import type { NamedBitmap } from "../block/named-bitmap.js";
import type { Child, Node } from "../block/node.js";
import type { OpenContext } from "../block/context.js";
import type { Op } from "../block/op.js";
import { Permission, type Permissions } from "../block/permissions.js";
import { take, takeEnum, takeSize, takeString } from "../block/take.js";
import { PassThrough } from "../block/pass-through.js";
import { WorkBitmap } from "../block/work-bitmap.js";

/** Copying goes by units of at least this many bytes. */
const MIN_UNIT = 65536;
/** Bytes moved by one copy. */
const MAX_COPY = 1024 * 1024;

interface Settings {
  onError: "break-guest-write" | "break-snapshot";
  /** Milliseconds a copy may take; 0: as long as it takes. */
  timeout: number;
}

class CopyBeforeWrite extends PassThrough implements SnapshotAccess {
  readonly #target: Child;
  readonly #unit: number;
  readonly #settings: Settings;
  /** The disk as the snapshot has it. */
  readonly #length: number;
  /** By unit: still to be copied before it changes. */
  readonly #pending: DirtyBitmap;
  /** By unit: part of the snapshot (not given up by a discard, and in the bitmap where there is one). */
  readonly #access: DirtyBitmap;
  /** By unit: has been changed, its old content is safe. */
  readonly #changed: DirtyBitmap;
  readonly #shown: { on: Node; bitmap: WorkBitmap };
  /** Why the snapshot is lost; null while it is whole. */
  #broken: BlockError | null = null;

  constructor(child: Child, target: Child, unit: number, settings: Settings, bitmap: DirtyBitmap | null) {
    super(child);
    this.#target = target;
    this.#unit = unit;
    this.#settings = settings;
    this.#length = child.node.size;
    this.#access = new DirtyBitmap(this.#length, unit);
    if (bitmap === null) this.#access.set(0, this.#length);
    else this.#access.merge(bitmap);
    this.#pending = this.#access.copy();
    this.#changed = new DirtyBitmap(this.#length, unit);
    for (const bits of [this.#changed, this.#access]) this.node.workBitmaps.add(new WorkBitmap(bits, false));
    this.#shown = { on: child.node, bitmap: new WorkBitmap(this.#pending, false) };
    this.#shown.on.workBitmaps.add(this.#shown.bitmap);
  }

  // eslint-disable-next-line require-yield
  override *close(): Op<void> {
    this.#shown.on.workBitmaps.delete(this.#shown.bitmap);
  }

  /** Others may write to the target: the disk itself can be below it. Nobody may change the disk but through the filter, once it is used. */
  childPermissions({ needed, shared }: Permissions, _above: Permissions, { role, parent }: Child): Permissions {
    const { consistentRead, write: change, writeUnchanged, resize } = Permission;
    if (role !== "filtered") return { needed: change, shared: consistentRead | change | writeUnchanged };
    if (parent.parents.length === 0 && parent.users.size === 0) return { needed, shared };
    return { needed: needed | (needed & change ? consistentRead : 0), shared: shared & ~(change | resize) };
  }
  get snapshot(): SnapshotAccess {
    return this;
  }

  // ---- the guest's side -------------------------------------------------------------------------------------------

  /** Runs a change after what it changes has been copied; nobody reads the snapshot there meanwhile. */
  *#afterCopy(offset: number, length: number, change: Op<void>): Op<void> {
    const inside = Math.min(length, this.#length - offset);
    if (inside <= 0) {
      yield* change;
      return;
    }
    const lease = yield* this.node.requests.acquire(offset, inside, this.#unit);
    try {
      yield* this.#copy(offset, inside);
      yield* change;
    } finally {
      this.node.requests.release(lease);
    }
  }

  *#copy(offset: number, length: number): Op<void> {
    if (this.#broken !== null) return;
    const deadline = this.#settings.timeout === 0 ? Infinity : this.node.environment.now() + this.#settings.timeout;
    const start = alignDown(offset, this.#unit);
    const end = Math.min(alignUp(offset + length, this.#unit), this.#length);
    for (let at = start; at < end;) {
      const run = this.#pending.nextDirty(at, Math.max(this.#unit, MAX_COPY));
      if (run === null || run.offset >= end) break;
      const bytes = new Uint8Array(Math.min(run.length, end - run.offset));
      try {
        yield* readPadded(this.below, bytes, run.offset);
        yield* write(this.#target.node, bytes, run.offset);
        if (this.node.environment.now() > deadline) throw errnoError("ETIMEDOUT");
      } catch (error) {
        const failure = toBlockError(error);
        if (this.#settings.onError === "break-guest-write") throw failure;
        this.#broken = failure;
        return;
      }
      this.#pending.clear(run.offset, bytes.length);
      at = run.offset + bytes.length;
    }
    this.#changed.set(start, end - start);
  }

  override write(from: Uint8Array, offset: number, flags: WriteFlags): Op<void> {
    return this.#afterCopy(offset, from.length, super.write(from, offset, flags));
  }
  override writeZeroes(offset: number, length: number, flags: WriteFlags): Op<void> {
    return this.#afterCopy(offset, length, super.writeZeroes(offset, length, flags));
  }
  override discard(offset: number, length: number): Op<void> {
    return this.#afterCopy(offset, length, super.discard(offset, length));
  }
  override truncate(size: number, options: TruncateOptions): Op<void> {
    return size >= this.#length
      ? super.truncate(size, options)
      : this.#afterCopy(size, this.#length - size, super.truncate(size, options));
  }

  // ---- the snapshot's side ----------------------------------------------------------------------------------------

  get snapshotSize(): number {
    return this.#length;
  }

  #checkAccess(offset: number, length: number): void {
    if (this.#broken !== null) throw errnoError("EACCES", undefined, { cause: this.#broken });
    const clean = this.#access.nextClean(offset);
    if (clean >= 0 && clean < offset + length) throw errnoError("EACCES");
  }

  *readSnapshot(into: Uint8Array, offset: number): Op<void> {
    this.#checkAccess(offset, into.length);
    const end = offset + into.length;
    for (let at = offset; at < end;) {
      const stop = Math.min(end, alignDown(at, this.#unit) + this.#unit);
      const part = into.subarray(at - offset, stop - offset);
      // The guest does not change the unit while it is read from the disk itself.
      const lease = yield* this.node.requests.acquire(at, part.length, this.#unit);
      try {
        yield* read(this.#pending.isDirty(at) ? this.below : this.#target.node, part, at);
      } finally {
        this.node.requests.release(lease);
      }
      at = stop;
    }
    // It may have been lost meanwhile.
    if (this.#broken !== null) throw errnoError("EACCES", undefined, { cause: this.#broken });
  }

  // eslint-disable-next-line require-yield
  *snapshotStatus(offset: number, length: number, out: ExtentList): Op<void> {
    this.#checkAccess(offset, 1);
    const end = offset + length;
    for (let at = offset; at < end;) {
      if (!this.#access.isDirty(at)) break;
      const stop = Math.min(end, alignDown(at, this.#unit) + this.#unit);
      out.push(at, stop - at, ExtentKind.data, this.#pending.isDirty(at) ? this.below : this.#target.node, at);
      at = stop;
    }
  }

  /** The reader has seen the range: it need not be kept any more. */
  *discardSnapshot(offset: number, length: number): Op<void> {
    const start = alignUp(offset, this.#unit);
    const end = offset + length >= this.#length ? this.#length : alignDown(offset + length, this.#unit);
    if (end <= start) return;
    const lease = yield* this.node.requests.acquire(start, end - start, this.#unit);
    try {
      this.#access.clear(start, end - start);
      this.#pending.clear(start, end - start);
      yield* discard(this.#target.node, start, end - start);
    } finally {
      this.node.requests.release(lease);
    }
  }
}

function unitOf(target: Node): number {
  const { impl } = target;
  return Math.max(
    MIN_UNIT,
    impl.shape === "mapped" ? impl.allocationUnit : 1,
    impl.shape === "intercept" ? (impl.alignment ?? 1) : 1,
  );
}

function findBitmap(context: OpenContext): NamedBitmap | null {
  const given = take(context.options, "bitmap");
  if (given === undefined || given === null) return null;
  const bag = { ...(given as Record<string, unknown>) };
  const node = context.environment.findNode?.(takeString(bag, "node") ?? "") ?? null;
  const name = takeString(bag, "name") ?? "";
  const found = node?.bitmaps.find((bitmap) => bitmap.name === name);
  if (found === undefined) throw new BlockError("ERR_NOT_FOUND", `Dirty bitmap '${name}' not found`, { errno: "EINVAL" });
  return found;
}

export const copyBeforeWrite: Driver = {
  name: "copy-before-write",
  category: "filter",
  runtimeOptions: ["file", "target", "bitmap", "on-cbw-error", "cbw-timeout"],
  exactFilename: (node) => node.child("file")!.filename,
  *open(context) {
    const { options } = context;
    const settings: Settings = {
      onError: takeEnum(options, "on-cbw-error", ["break-guest-write", "break-snapshot"]) ?? "break-guest-write",
      timeout: (takeSize(options, "cbw-timeout") ?? 0) * 1000,
    };
    const bitmap = findBitmap(context);
    const file = yield* context.openChild("file", "filtered");
    const target = yield* context.openChild("target", "data", { format: true, flags: { write: true, unmap: true } });
    if (target.node.size !== file.node.size) {
      throw new BlockError("ERR_INVALID_ARGUMENT", "Source and target of copy-before-write must have the same size", {
        node: context.node.nodeName,
      });
    }
    return new CopyBeforeWrite(file, target, unitOf(target.node), settings, bitmap === null ? null : yield* bitmap.load());
  },
};
