/** Compressed loop images (cloop), read-only: equal blocks, each a zlib stream. */
import { BlockError, prefixError } from "../../base/error.js";
import type { OpenContext } from "../../block/context.js";
import type { Driver, MappedImpl, SpecialExtent } from "../../block/driver.js";
import type { ExtentList } from "../../block/extent.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { foreign, type Op } from "../../block/op.js";
import type { Decompressor } from "../../codec/codec.js";
import { refuseWrite } from "../shared/read-only.js";
import { isCloop, readHeader, type CloopHeader } from "./header.js";

/** Blocks one `map` call names at most. */
const MAP_BLOCKS = 64;

class CloopImage implements MappedImpl {
  readonly shape = "mapped";
  readonly size: number;
  readonly allocationUnit: number;
  readonly #node: Node;
  readonly #header: CloopHeader;
  readonly #decompressor: Decompressor;
  /** The block that was read last, plain: small reads in a row decompress it once. */
  #block = -1;
  #plain: Uint8Array = new Uint8Array(0);

  constructor(node: Node, header: CloopHeader, decompressor: Decompressor) {
    this.#node = node;
    this.#header = header;
    this.#decompressor = decompressor;
    this.size = header.blocks * header.blockSize;
    this.allocationUnit = header.blockSize;
  }

  map(offset: number, length: number, out: ExtentList): null {
    const { blockSize } = this.#header;
    const end = offset + length;
    let at = offset;
    for (let count = 0; at < end && count < MAP_BLOCKS; count++) {
      const block = Math.floor(at / blockSize);
      const next = Math.min(end, (block + 1) * blockSize);
      out.pushSpecial(at, next - at, this.#node.file, block, 0, false);
      at = next;
    }
    return null;
  }
  // eslint-disable-next-line require-yield
  *load(): Op<void> {}

  *readSpecial(extent: SpecialExtent, at: number, into: Uint8Array): Op<void> {
    const { blockSize } = this.#header;
    const block = extent.host;
    const from = at - block * blockSize;
    if (from === 0 && into.length === blockSize) {
      yield* this.#inflate(block, into);
      return;
    }
    if (this.#block !== block) {
      const plain = new Uint8Array(blockSize);
      yield* this.#inflate(block, plain);
      this.#plain = plain;
      this.#block = block;
    }
    into.set(this.#plain.subarray(from, from + into.length));
  }

  *#inflate(block: number, into: Uint8Array): Op<void> {
    const offset = this.#header.offsets[block]!;
    const length = this.#header.offsets[block + 1]! - offset;
    const file = this.#node.file;
    const codec = this.#decompressor;
    try {
      if (offset + length > file.size) throw new BlockError("ERR_CORRUPT", "it reaches behind the end of the file");
      const from = yield* readBytes(file, offset, length);
      yield* foreign(
        "Decompressing",
        codec.sync === null ? null : () => codec.sync!(from, into),
        codec.async === null ? null : () => codec.async!(from, into),
      );
    } catch (error) {
      throw prefixError(`Could not read block ${block} of the image: `, error);
    }
  }

  // eslint-disable-next-line require-yield
  *flush(): Op<void> {}
  // eslint-disable-next-line require-yield
  *close(): Op<void> {}
}

export const cloop: Driver = {
  name: "cloop",
  category: "format",
  // The weakest score above raw's: the script is only a convention.
  probe: (head) => (isCloop(head) ? 2 : 0),
  *open(context: OpenContext): Op<MappedImpl> {
    refuseWrite(context);
    yield* context.openChild("file", "image");
    const header = yield* readHeader(context.node.file);
    return new CloopImage(context.node, header, context.environment.codecs.decompressor("zlib"));
  },
};
