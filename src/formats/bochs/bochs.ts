/** Bochs growing images, read-only: a catalog of extents, each with a bitmap that says which sectors it holds. */
import { viewOf } from "../../base/bytes.js";
import type { OpenContext } from "../../block/context.js";
import type { Driver, MappedImpl, SpecialExtent } from "../../block/driver.js";
import type { ExtentList } from "../../block/extent.js";
import { readBytes, readPadded } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { refuseWrite } from "../shared/read-only.js";
import { HEADER_BYTES, isBochs, parseHeader, type BochsHeader } from "./header.js";

const NO_EXTENT = 0xffffffff;
/** Bitmaps in memory; one has at most 2 KiB that matter. */
const MAX_BITMAPS = 1024;

/**
 * The whole disk is one stretch to the layers above, as in QEMU: extents are small, and which sectors they hold only their
 * bitmaps tell.
 */
class BochsImage implements MappedImpl {
  readonly shape = "mapped";
  readonly size: number;
  readonly allocationUnit = 512;
  readonly #node: Node;
  readonly #header: BochsHeader;
  readonly #catalog: Uint32Array;
  readonly #bitmaps = new Map<number, Uint8Array>();

  constructor(node: Node, header: BochsHeader, catalog: Uint32Array) {
    this.#node = node;
    this.#header = header;
    this.#catalog = catalog;
    this.size = header.size;
  }

  map(offset: number, length: number, out: ExtentList): null {
    out.pushSpecial(offset, length, null, -1, 0, false);
    return null;
  }
  // eslint-disable-next-line require-yield
  *load(): Op<void> {}

  *readSpecial(_extent: SpecialExtent, at: number, into: Uint8Array): Op<void> {
    const { extentBytes } = this.#header;
    for (let done = 0; done < into.length;) {
      const guest = at + done;
      const index = Math.floor(guest / extentBytes);
      const inExtent = guest - index * extentBytes;
      const length = Math.min(into.length - done, extentBytes - inExtent);
      yield* this.#readExtent(index, inExtent, into.subarray(done, done + length));
      done += length;
    }
  }

  *#readExtent(index: number, offset: number, into: Uint8Array): Op<void> {
    const entry = this.#catalog[index]!;
    if (entry === NO_EXTENT) {
      into.fill(0);
      return;
    }
    const { catalogOffset, catalogEntries, bitmapBytes, extentBytes } = this.#header;
    const place = catalogOffset + catalogEntries * 4 + entry * (bitmapBytes + extentBytes);
    const bitmap = yield* this.#bitmap(index, place);
    for (let at = 0; at < into.length;) {
      const own = isSet(bitmap, Math.floor((offset + at) / 512));
      let end = at;
      do end = Math.min(into.length, end + 512 - ((offset + end) % 512));
      while (end < into.length && isSet(bitmap, Math.floor((offset + end) / 512)) === own);
      const part = into.subarray(at, end);
      if (own) yield* readPadded(this.#node.file, part, place + bitmapBytes + offset + at);
      else part.fill(0);
      at = end;
    }
  }

  *#bitmap(index: number, place: number): Op<Uint8Array> {
    const known = this.#bitmaps.get(index);
    if (known !== undefined) return known;
    // Only the bits of the extent's sectors count, however large the header says the bitmap is.
    const bitmap = yield* readBytes(this.#node.file, place, Math.max(1, this.#header.extentBytes / 4096));
    if (this.#bitmaps.size >= MAX_BITMAPS) this.#bitmaps.clear();
    this.#bitmaps.set(index, bitmap);
    return bitmap;
  }

  // eslint-disable-next-line require-yield
  *flush(): Op<void> {}
  // eslint-disable-next-line require-yield
  *close(): Op<void> {}
}

const isSet = (bitmap: Uint8Array, sector: number): boolean => ((bitmap[sector >>> 3]! >>> (sector & 7)) & 1) !== 0;

export const bochs: Driver = {
  name: "bochs",
  category: "format",
  probe: (head) => (isBochs(head) ? 100 : 0),
  *open(context: OpenContext): Op<MappedImpl> {
    refuseWrite(context);
    yield* context.openChild("file", "image");
    const file = context.node.file;
    const header = parseHeader(yield* readBytes(file, 0, HEADER_BYTES));
    const tableBytes = header.catalogEntries * 4;
    // At most 4 MiB; what lies behind the end of the file reads as zeros, as in QEMU.
    const view = viewOf(yield* readBytes(file, header.catalogOffset, tableBytes));
    const catalog = new Uint32Array(header.catalogEntries);
    for (let i = 0; i < catalog.length; i++) catalog[i] = view.getUint32(i * 4, true);
    return new BochsImage(context.node, header, catalog);
  },
};
