/**
 * Extents: the currency of the block layer. A format answers *where* a guest range is; one loop (`block/io.ts`) moves the bytes.
 */
import type { Node } from "./node.js";

export const ExtentKind = {
  /** Nothing in this layer: the backing node shows through, or zeros when there is none. */
  unallocated: 0,
  /** Reads as zeros in this layer, whatever is below. `host` >= 0 when space is reserved for it. */
  zero: 1,
  /** Stored as is in `file` at `host`. */
  data: 2,
  /** Stored in a form only the format can read (compressed, encrypted): `readSpecial`. */
  special: 3,
} as const;
export type ExtentKind = (typeof ExtentKind)[keyof typeof ExtentKind];

export class Extent {
  /** Guest offset and length in bytes. */
  start = 0;
  length = 0;
  kind: ExtentKind = ExtentKind.unallocated;
  /** The node the bytes are in, for `data` (and reserved `zero`). */
  file: Node | null = null;
  /** Byte offset in `file`; -1 when there is none. For `special` the format's own meaning. */
  host = -1;
  /** A second number for `special` extents (length of the compressed bytes, say). */
  aux = 0;
  compressed = false;
}

/** A reusable list of extents in ascending, gapless order. */
export class ExtentList {
  readonly #items: Extent[] = [];
  count = 0;

  clear(): void {
    this.count = 0;
  }

  at(index: number): Extent {
    return this.#items[index]!;
  }

  /** Guest offset behind the last extent; -1 when empty. */
  get end(): number {
    if (this.count === 0) return -1;
    const last = this.#items[this.count - 1]!;
    return last.start + last.length;
  }

  /** Appends a run, merging it with the last one where both are one. */
  push(start: number, length: number, kind: ExtentKind, file: Node | null = null, host = -1): Extent {
    if (this.count > 0) {
      const last = this.#items[this.count - 1]!;
      if (
        last.kind === kind &&
        kind !== ExtentKind.special &&
        last.file === file &&
        last.start + last.length === start &&
        (host < 0 ? last.host < 0 : last.host >= 0 && last.host + last.length === host)
      ) {
        last.length += length;
        return last;
      }
    }
    return this.#add(start, length, kind, file, host);
  }

  pushSpecial(start: number, length: number, file: Node | null, host: number, aux: number, compressed: boolean): Extent {
    const extent = this.#add(start, length, ExtentKind.special, file, host);
    extent.aux = aux;
    extent.compressed = compressed;
    return extent;
  }

  #add(start: number, length: number, kind: ExtentKind, file: Node | null, host: number): Extent {
    let extent = this.#items[this.count];
    if (extent === undefined) this.#items.push((extent = new Extent()));
    this.count++;
    extent.start = start;
    extent.length = length;
    extent.kind = kind;
    extent.file = file;
    extent.host = host;
    extent.aux = 0;
    extent.compressed = false;
    return extent;
  }
}
