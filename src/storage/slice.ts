/** A window of another storage: a partition, an extent of a container, the raw format's `offset` and `size`. */
import { BlockError } from "../base/error.js";
import { checkInside, checkRange, checkSize, checkWritable, closedError, noSpaceError } from "./shared/checks.js";
import type { AsyncStorageFace, Storage, StorageExtent, SyncStorageFace } from "./storage.js";

export interface SliceOptions {
  name?: string;
  /** Also without the base being read-only. */
  readOnly?: boolean;
  /** Leave the base open when the slice is closed. */
  keepOpen?: boolean;
}

/** Where the window begins and ends. Without an end it goes on to the base's end and grows with it. */
interface Window {
  name: string;
  readOnly: boolean;
  alignment: number;
  offset: number;
  length: number | null;
  closed: boolean;
  keepOpen: boolean;
}

/** Bytes of the window that exist, given the base's size: a base may be shorter than the window says. */
const windowSize = (window: Window, baseSize: number): number => {
  const rest = Math.max(0, baseSize - window.offset);
  return window.length === null ? rest : Math.min(window.length, rest);
};

function check(window: Window, operation: string, offset: number, length: number): void {
  if (window.closed) throw closedError(window.name, operation);
  checkRange(window, operation, offset, length);
}

function checkWrite(window: Window, operation: string, offset: number, length: number): void {
  check(window, operation, offset, length);
  checkWritable(window, operation);
  checkSize(window.offset + offset + length, "the end of the request in the base");
  if (window.length !== null && offset + length > window.length) throw noSpaceError(window, operation, offset);
}

/** The part of a read that lies inside the window. */
function clip(window: Window, into: Uint8Array, offset: number): Uint8Array {
  if (window.length === null || offset + into.length <= window.length) return into;
  return into.subarray(0, Math.max(0, window.length - offset));
}

function checkTruncate(window: Window, size: number): boolean {
  checkWrite({ ...window, length: null }, "truncate", size, 0);
  if (window.length === null) return true;
  if (size === window.length) return false;
  throw new BlockError("ERR_UNSUPPORTED", `'${window.name}' is a window of fixed size`, {
    node: window.name,
    operation: "truncate",
  });
}

const shift = (extents: StorageExtent[], by: number): StorageExtent[] =>
  extents.map((extent) => ({ ...extent, offset: extent.offset - by }));

function syncFace(base: SyncStorageFace, window: Window): SyncStorageFace {
  const size = (operation: string): number => {
    if (window.closed) throw closedError(window.name, operation);
    return windowSize(window, base.size());
  };
  const inside = (operation: string, offset: number, length: number): void => {
    check(window, operation, offset, length);
    checkInside(window, operation, offset, length, size(operation));
  };
  const insideWrite = (operation: string, offset: number, length: number): void => {
    check(window, operation, offset, length);
    checkWritable(window, operation);
    checkInside(window, operation, offset, length, size(operation));
  };
  const face: SyncStorageFace = {
    read: (into, offset) => {
      check(window, "read", offset, into.length);
      const part = clip(window, into, offset);
      return part.length === 0 ? 0 : base.read(part, window.offset + offset);
    },
    write: (from, offset) => {
      checkWrite(window, "write", offset, from.length);
      if (from.length > 0) base.write(from, window.offset + offset);
    },
    flush: () => {
      if (window.closed) throw closedError(window.name, "flush");
      base.flush();
    },
    size: () => size("size"),
    truncate: (to) => {
      if (checkTruncate(window, to)) base.truncate(window.offset + to);
    },
    close: () => {
      if (window.closed) return;
      window.closed = true;
      if (!window.keepOpen) base.close();
    },
  };
  const { writeZeroes, discard, allocate, extents } = base;
  if (writeZeroes)
    face.writeZeroes = (offset, length, flags) => {
      insideWrite("write-zeroes", offset, length);
      writeZeroes.call(base, window.offset + offset, length, flags);
    };
  if (discard)
    face.discard = (offset, length) => {
      insideWrite("discard", offset, length);
      discard.call(base, window.offset + offset, length);
    };
  if (allocate)
    face.allocate = (offset, length) => {
      checkWrite(window, "allocate", offset, length);
      allocate.call(base, window.offset + offset, length);
    };
  if (extents)
    face.extents = (offset, length) => {
      inside("extents", offset, length);
      return length === 0 ? [] : shift(extents.call(base, window.offset + offset, length), window.offset);
    };
  return face;
}

function asyncFace(base: AsyncStorageFace, window: Window): AsyncStorageFace {
  const size = async (operation: string): Promise<number> => {
    if (window.closed) throw closedError(window.name, operation);
    return windowSize(window, await base.size());
  };
  const inside = async (operation: string, offset: number, length: number): Promise<void> => {
    check(window, operation, offset, length);
    checkInside(window, operation, offset, length, await size(operation));
  };
  const insideWrite = async (operation: string, offset: number, length: number): Promise<void> => {
    check(window, operation, offset, length);
    checkWritable(window, operation);
    checkInside(window, operation, offset, length, await size(operation));
  };
  const face: AsyncStorageFace = {
    read: async (into, offset) => {
      check(window, "read", offset, into.length);
      const part = clip(window, into, offset);
      return part.length === 0 ? 0 : base.read(part, window.offset + offset);
    },
    write: async (from, offset) => {
      checkWrite(window, "write", offset, from.length);
      if (from.length > 0) await base.write(from, window.offset + offset);
    },
    flush: async () => {
      if (window.closed) throw closedError(window.name, "flush");
      await base.flush();
    },
    size: () => size("size"),
    truncate: async (to) => {
      if (checkTruncate(window, to)) await base.truncate(window.offset + to);
    },
    close: async () => {
      if (window.closed) return;
      window.closed = true;
      if (!window.keepOpen) await base.close();
    },
  };
  const { writeZeroes, discard, allocate, extents } = base;
  if (writeZeroes)
    face.writeZeroes = async (offset, length, flags) => {
      await insideWrite("write-zeroes", offset, length);
      await writeZeroes.call(base, window.offset + offset, length, flags);
    };
  if (discard)
    face.discard = async (offset, length) => {
      await insideWrite("discard", offset, length);
      await discard.call(base, window.offset + offset, length);
    };
  if (allocate)
    face.allocate = async (offset, length) => {
      checkWrite(window, "allocate", offset, length);
      await allocate.call(base, window.offset + offset, length);
    };
  if (extents)
    face.extents = async (offset, length) => {
      await inside("extents", offset, length);
      return length === 0 ? [] : shift(await extents.call(base, window.offset + offset, length), window.offset);
    };
  return face;
}

/**
 * `size` bytes of `base` from `offset` on, both multiples of the base's alignment; without `size` (or null) everything from
 * there, growing with the base. It has the faces of the base and closes it with itself unless `keepOpen`.
 *
 * @throws BlockError ERR_INVALID_ARGUMENT for a bad or unaligned window
 */
export function sliceStorage(base: Storage, offset: number, size: number | null = null, options: SliceOptions = {}): Storage {
  checkSize(offset, "offset");
  if (size !== null) {
    checkSize(size, "size");
    checkSize(offset + size, "offset + size");
  }
  const { alignment } = base;
  if (offset % alignment !== 0 || (size !== null && size % alignment !== 0)) {
    throw new BlockError("ERR_INVALID_ARGUMENT", `'${base.name}': a window must be aligned to ${alignment} bytes`);
  }
  const window: Window = {
    name: options.name ?? base.name,
    readOnly: base.readOnly || options.readOnly === true,
    alignment,
    offset,
    length: size,
    closed: false,
    keepOpen: options.keepOpen ?? false,
  };
  return {
    kind: base.kind,
    name: window.name,
    readOnly: window.readOnly,
    alignment,
    fixedSize: size !== null || base.fixedSize,
    sync: base.sync === null ? null : syncFace(base.sync, window),
    async: base.async === null ? null : asyncFace(base.async, window),
    ...(base.statistics === undefined ? {} : { statistics: base.statistics }),
  };
}
