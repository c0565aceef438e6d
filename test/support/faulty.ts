/**
 * A storage that fails when told to: the n-th call of a kind, or calls that touch a range, once or for ever; writes may go
 * through in part first, and asynchronous calls may be delayed at random.
 */
import { errnoError, type Errno } from "../../src/base/error.js";
import type { AsyncStorageFace, Storage, SyncStorageFace } from "../../src/storage/storage.js";
import type { Random } from "./random.js";

export type FaultOperation = "read" | "write" | "flush" | "truncate" | "write-zeroes" | "discard" | "size";

export interface Fault {
  operation: FaultOperation;
  errno: Errno;
  /** Fails the so-many-th matching call (from 1) counted from when the fault was set; 1 when absent. */
  nth?: number;
  /** Only calls that touch this range count. */
  range?: { offset: number; length: number };
  /** Go on failing after the n-th; otherwise the fault is used up. */
  forever?: boolean;
  /** Let this share (0..1) of the failing write's bytes through first. */
  partial?: number;
  /** No error: the failing read gets half of its bytes, and says so. */
  short?: boolean;
  /** What gets through is a multiple of this many bytes (1 when absent): media write whole sectors. */
  partialUnit?: number;
}

export interface FaultyStorage extends Storage {
  readonly faults: (Fault & { seen: number })[];
  /** Calls so far by operation. */
  readonly calls: Record<FaultOperation, number>;
  fail(fault: Fault): void;
  heal(): void;
}

export interface FaultyOptions {
  /** Delays asynchronous calls by up to this many turns of the event loop. */
  delay?: { random: Random; turns: number };
  /** Offer only one face. */
  face?: "sync" | "async";
  /** Give a synchronous base an asynchronous face (for delays). */
  makeAsync?: boolean;
}

export function faultyStorage(base: Storage, options: FaultyOptions = {}): FaultyStorage {
  const faults: (Fault & { seen: number })[] = [];
  const calls: Record<FaultOperation, number> = {
    read: 0,
    write: 0,
    flush: 0,
    truncate: 0,
    "write-zeroes": 0,
    discard: 0,
    size: 0,
  };

  /** The fault that this call meets, counted and used up. */
  const meet = (operation: FaultOperation, offset = 0, length = Infinity): Fault | null => {
    calls[operation]++;
    for (const fault of faults) {
      const { range, nth = 1 } = fault;
      if (
        fault.operation !== operation ||
        (range !== undefined && (offset >= range.offset + range.length || offset + length <= range.offset))
      )
        continue;
      fault.seen++;
      if (fault.seen < nth) continue;
      if (fault.forever !== true) faults.splice(faults.indexOf(fault), 1);
      return fault;
    }
    return null;
  };
  const error = (fault: Fault, operation: string, offset?: number): Error =>
    errnoError(
      fault.errno,
      undefined,
      offset === undefined ? { node: base.name, operation } : { node: base.name, operation, offset },
    );
  const through = (fault: Fault, from: Uint8Array): Uint8Array => {
    const { partial = 0, partialUnit = 1 } = fault;
    return from.subarray(0, Math.floor((from.length * partial) / partialUnit) * partialUnit);
  };

  const wait = async (): Promise<void> => {
    if (options.delay === undefined) return;
    for (let turns = options.delay.random.int(options.delay.turns + 1); turns > 0; turns--)
      await new Promise((resolve) => setTimeout(resolve));
  };

  const syncFace = (face: SyncStorageFace): SyncStorageFace => {
    const stop = (operation: FaultOperation, offset?: number, length?: number): void => {
      const fault = meet(operation, offset, length);
      if (fault !== null) throw error(fault, operation, offset);
    };
    const out: SyncStorageFace = {
      read: (into, offset) => {
        const fault = meet("read", offset, into.length);
        if (fault === null) return face.read(into, offset);
        if (fault.short !== true) throw error(fault, "read", offset);
        return face.read(into.subarray(0, into.length >> 1), offset);
      },
      write: (from, offset) => {
        const fault = meet("write", offset, from.length);
        if (fault === null) return face.write(from, offset);
        const part = through(fault, from);
        if (part.length > 0) face.write(part, offset);
        throw error(fault, "write", offset);
      },
      flush: () => (stop("flush"), face.flush()),
      size: () => (stop("size"), face.size()),
      truncate: (size) => (stop("truncate"), face.truncate(size)),
      close: () => face.close(),
    };
    if (face.writeZeroes)
      out.writeZeroes = (offset, length, flags) => (
        stop("write-zeroes", offset, length),
        face.writeZeroes!(offset, length, flags)
      );
    if (face.discard) out.discard = (offset, length) => (stop("discard", offset, length), face.discard!(offset, length));
    if (face.allocate) out.allocate = (offset, length) => face.allocate!(offset, length);
    if (face.extents) out.extents = (offset, length) => face.extents!(offset, length);
    if (face.allocatedSize) out.allocatedSize = () => face.allocatedSize!();
    return out;
  };

  type Either = SyncStorageFace | AsyncStorageFace;
  const asyncFace = (face: Either): AsyncStorageFace => {
    const stop = async (operation: FaultOperation, offset?: number, length?: number): Promise<void> => {
      await wait();
      const fault = meet(operation, offset, length);
      if (fault !== null) throw error(fault, operation, offset);
    };
    const out: AsyncStorageFace = {
      read: async (into, offset) => {
        await wait();
        const fault = meet("read", offset, into.length);
        if (fault === null) return face.read(into, offset);
        if (fault.short !== true) throw error(fault, "read", offset);
        return face.read(into.subarray(0, into.length >> 1), offset);
      },
      write: async (from, offset) => {
        await wait();
        const fault = meet("write", offset, from.length);
        if (fault === null) return face.write(from, offset);
        const part = through(fault, from);
        if (part.length > 0) await face.write(part, offset);
        throw error(fault, "write", offset);
      },
      flush: async () => {
        await stop("flush");
        await face.flush();
      },
      size: async () => {
        await stop("size");
        return face.size();
      },
      truncate: async (size) => {
        await stop("truncate");
        await face.truncate(size);
      },
      close: async () => face.close(),
    };
    if (face.writeZeroes)
      out.writeZeroes = async (offset, length, flags) => {
        await stop("write-zeroes", offset, length);
        await face.writeZeroes!(offset, length, flags);
      };
    if (face.discard)
      out.discard = async (offset, length) => {
        await stop("discard", offset, length);
        await face.discard!(offset, length);
      };
    if (face.allocate) out.allocate = async (offset, length) => face.allocate!(offset, length);
    if (face.extents) out.extents = async (offset, length) => face.extents!(offset, length);
    if (face.allocatedSize) out.allocatedSize = async () => face.allocatedSize!();
    return out;
  };

  const { kind, name, readOnly, alignment, fixedSize } = base;
  const asynchronous = base.async ?? (options.makeAsync === true ? base.sync : null);
  return {
    kind,
    name,
    readOnly,
    alignment,
    fixedSize,
    faults,
    calls,
    sync: base.sync === null || options.face === "async" ? null : syncFace(base.sync),
    async: asynchronous === null || options.face === "sync" ? null : asyncFace(asynchronous),
    fail: (fault) => void faults.push({ ...fault, seen: 0 }),
    heal: () => void faults.splice(0),
  };
}
