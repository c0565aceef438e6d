/**
 * What the node above a mirrored one does with requests. With copy-mode=write-blocking a change goes to the target, too, before the
 * guest's request completes; otherwise everything passes, and the mirror hears of changes as it always does.
 *
 * While a change is under way on both sides, nothing else copies there: the background copy takes leases on the same ranges.
 */
import { alignDown, alignUp } from "../base/int.js";
import type { DirtyBitmap } from "../block/dirty-bitmap.js";
import type { WriteFlags } from "../block/driver.js";
import { write, writeZeroes } from "../block/io.js";
import type { Child, Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { PassThrough } from "../block/pass-through.js";
import { Requests, type Lease } from "../block/requests.js";
import { side } from "./job-io.js";

/** The mirror, as far as blocking writes need it. */
export interface BlockingMirror {
  readonly target: Node;
  readonly dirty: DirtyBitmap;
  readonly unmap: boolean;
  /** Nothing but whole granules may be written to the target. */
  readonly wholeGranules: boolean;
  /** Changes go to the target at once, at present. */
  isBlocking(): boolean;
  /** Brings a range of the target up to date from the source. */
  copyRange(offset: number, length: number): Op<void>;
  /** So many bytes were copied for a guest. */
  progress(bytes: number): void;
  /** A change did not reach the target, which keeps it dirty. Does not throw: the guest's request has succeeded. */
  targetFailed(error: unknown): void;
}

interface Change {
  readonly offset: number;
  readonly length: number;
  /** The source has told of this very change. */
  heard: boolean;
  /** Someone else, not through this node, changed something there meanwhile. */
  disturbed: boolean;
}

/** Changes that are under way on both sides. */
export class BlockingWrites {
  readonly #mirror: BlockingMirror;
  readonly #requests = new Requests();
  readonly #changes: Change[] = [];

  constructor(mirror: BlockingMirror) {
    this.#mirror = mirror;
  }

  /** Those that are under way: the target may not have them yet. */
  get changes(): readonly { readonly offset: number; readonly length: number }[] {
    return this.#changes;
  }

  acquire(offset: number, length: number): Op<Lease> {
    return this.#requests.acquire(offset, length, this.#mirror.dirty.granularity);
  }
  release(lease: Lease): void {
    this.#requests.release(lease);
  }

  /** The source has changed: true when that is one of the changes that go to both sides. */
  claims(offset: number, length: number): boolean {
    const own = this.#changes.find((each) => !each.heard && each.offset === offset && each.length === length);
    if (own !== undefined) {
      own.heard = true;
      return true;
    }
    for (const each of this.#changes)
      if (each.offset < offset + length && offset < each.offset + each.length) each.disturbed = true;
    return false;
  }

  /** Changes the source, and then the target. Fails when the source does. */
  *both(offset: number, length: number, onSource: Op<void>, onTarget: Op<void>): Op<void> {
    const mirror = this.#mirror;
    const lease = yield* this.acquire(offset, length);
    const change: Change = { offset, length, heard: false, disturbed: false };
    this.#changes.push(change);
    let arrived = false;
    try {
      yield* onSource;
      if (!mirror.isBlocking()) return;
      try {
        yield* side("write", onTarget);
        arrived = !change.disturbed;
      } catch (error) {
        mirror.targetFailed(error);
      }
    } finally {
      this.#changes.splice(this.#changes.indexOf(change), 1);
      if (arrived) {
        mirror.dirty.clear(offset, length);
        mirror.progress(length);
      } else mirror.dirty.set(offset, length);
      this.#requests.release(lease);
    }
  }
}

export class MirrorTop extends PassThrough {
  readonly #mirror: BlockingMirror;
  readonly #writes: BlockingWrites;

  constructor(child: Child, mirror: BlockingMirror, writes: BlockingWrites) {
    super(child);
    this.#mirror = mirror;
    this.#writes = writes;
  }

  override write(from: Uint8Array, offset: number, flags: WriteFlags): Op<void> {
    const change = super.write(from, offset, flags);
    if (!this.#mirror.isBlocking()) return change;
    const { target, wholeGranules } = this.#mirror;
    const onTarget = wholeGranules ? this.#copyGranules(offset, from.length) : write(target, from, offset, fua(flags));
    return this.#writes.both(offset, from.length, change, onTarget);
  }
  override writeZeroes(offset: number, length: number, flags: WriteFlags): Op<void> {
    const change = super.writeZeroes(offset, length, flags);
    if (!this.#mirror.isBlocking()) return change;
    const { target, unmap, wholeGranules } = this.#mirror;
    const mayUnmap = unmap && flags.mayUnmap === true;
    const onTarget = wholeGranules
      ? this.#copyGranules(offset, length)
      : writeZeroes(target, offset, length, { ...fua(flags), mayUnmap });
    return this.#writes.both(offset, length, change, onTarget);
  }
  override discard(offset: number, length: number): Op<void> {
    const change = super.discard(offset, length);
    if (!this.#mirror.isBlocking()) return change;
    // What a discarded range reads as is the source's affair.
    const onTarget = this.#mirror.wholeGranules ? this.#copyGranules(offset, length) : this.#mirror.copyRange(offset, length);
    return this.#writes.both(offset, length, change, onTarget);
  }

  /** What the source holds around a change, which has been made there. The lease of the change covers it. */
  #copyGranules(offset: number, length: number): Op<void> {
    const { granularity, size } = this.#mirror.dirty;
    const start = alignDown(offset, granularity);
    return this.#mirror.copyRange(start, Math.min(alignUp(offset + length, granularity), size) - start);
  }
}

const fua = (flags: WriteFlags): WriteFlags => (flags.fua === true ? { fua: true } : {});
