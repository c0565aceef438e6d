/** A VHDX file seen through its log: sectors that the log changes come from memory. */
import { alignDown } from "../../base/int.js";
import { READ_ONLY } from "../../block/flags.js";
import type { Driver, InterceptImpl } from "../../block/driver.js";
import { BlockError } from "../../base/error.js";
import { readPadded } from "../../block/io.js";
import { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { LOG_SECTOR } from "./layout.js";
import type { Change } from "./log-entry.js";

/** Changed bytes held in memory at most. */
const MAX_BYTES: number = 64 << 20;
const MAX_ZERO_RANGES = 65536;

export class Overlay {
  /** Changed sectors by their offset. Later than `#zeros`. */
  readonly #sectors = new Map<number, Uint8Array>();
  readonly #zeros: { offset: number; end: number }[] = [];

  get isTooLarge(): boolean {
    return this.#sectors.size * LOG_SECTOR > MAX_BYTES || this.#zeros.length > MAX_ZERO_RANGES;
  }

  add(change: Change): void {
    if (this.isTooLarge) return;
    if (change.kind === "data") {
      this.#sectors.set(change.offset, change.bytes);
      return;
    }
    const end = change.offset + change.length;
    this.#zeros.push({ offset: change.offset, end });
    for (const offset of this.#sectors.keys()) if (offset >= change.offset && offset < end) this.#sectors.delete(offset);
  }

  /** Puts the changes over `bytes`, which were read at `start`. */
  patch(bytes: Uint8Array, start: number): void {
    const end = start + bytes.length;
    for (const zero of this.#zeros) {
      if (zero.offset < end && zero.end > start)
        bytes.fill(0, Math.max(0, zero.offset - start), Math.min(bytes.length, zero.end - start));
    }
    if ((end - start) / LOG_SECTOR > this.#sectors.size) {
      for (const [offset, sector] of this.#sectors) put(bytes, start, offset, sector);
      return;
    }
    for (let offset = alignDown(start, LOG_SECTOR); offset < end; offset += LOG_SECTOR) {
      const sector = this.#sectors.get(offset);
      if (sector !== undefined) put(bytes, start, offset, sector);
    }
  }
}

function put(bytes: Uint8Array, start: number, offset: number, sector: Uint8Array): void {
  const from = Math.max(start, offset);
  const to = Math.min(start + bytes.length, offset + LOG_SECTOR);
  if (from < to) bytes.set(sector.subarray(from - offset, to - offset), from - start);
}

const driver: Driver = {
  name: "vhdx-log",
  category: "filter",
  open() {
    throw new BlockError("ERR_INVALID_ARGUMENT", "A replayed log belongs to its image");
  },
};

/** A read-only node over the file of `image`; it needs no closing. */
export function logOverlay(image: Node, overlay: Overlay, size: number): Node {
  const node = new Node(image.environment, driver, {}, READ_ONLY);
  node.givenName = image.file.filename;
  const impl: InterceptImpl = {
    shape: "intercept",
    size,
    *read(into: Uint8Array, offset: number): Op<void> {
      yield* readPadded(image.file, into, offset);
      overlay.patch(into, offset);
    },
    // eslint-disable-next-line require-yield
    *flush(): Op<void> {},
    // eslint-disable-next-line require-yield
    *close(): Op<void> {},
  };
  node.impl = impl;
  return node;
}
