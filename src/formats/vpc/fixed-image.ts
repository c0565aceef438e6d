/** An open fixed VHD: the disk as it is, and a footer behind it. */
import { BlockError } from "../../base/error.js";
import type { BlockDriverInfo, MappedImpl, TruncateOptions, WriteFlags, WritePlan } from "../../block/driver.js";
import { ExtentKind, type ExtentList } from "../../block/extent.js";
import { discard, flush, truncate, writeGrow, writeZeroes, zeroGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { FOOTER_BYTES, resizeFooter } from "./footer.js";
import { resizedShape, type Vhd, type VhdIdentity } from "./identity.js";

export class FixedImage implements MappedImpl, Vhd {
  readonly shape = "mapped";
  readonly allocationUnit = 512;
  readonly zeroUnit = 1;
  readonly discardUnit = 512;
  readonly recurseStatus = true;
  readonly identity: VhdIdentity;
  readonly #node: Node;
  readonly #footer: Uint8Array;
  /** Where the footer is: guest bytes end here, whatever the size in the footer says. */
  #dataEnd: number;
  #size: number;

  constructor(node: Node, footer: Uint8Array, identity: VhdIdentity, size: number, dataEnd: number) {
    this.#node = node;
    this.#footer = footer;
    this.identity = identity;
    this.#size = size;
    this.#dataEnd = dataEnd;
  }

  get size(): number {
    return this.#size;
  }

  map(offset: number, length: number, out: ExtentList): null {
    // A disk larger than its file shows the footer, too, and then zeros: as in QEMU.
    const stored = Math.max(0, Math.min(length, this.#dataEnd + FOOTER_BYTES - offset));
    if (stored > 0) out.push(offset, stored, ExtentKind.data, this.#node.file, offset);
    if (stored < length) out.push(offset + stored, length - stored, ExtentKind.zero);
    return null;
  }
  // eslint-disable-next-line require-yield
  *load(): Op<void> {}

  // eslint-disable-next-line require-yield
  *prepareWrite(offset: number, length: number): Op<WritePlan> {
    this.#checkStored(offset, length);
    return { length, pieces: [{ start: offset, length, file: this.#node.file, host: offset, fresh: false }] };
  }

  #checkStored(offset: number, length: number): void {
    if (offset + length <= this.#dataEnd) return;
    throw new BlockError("ERR_CORRUPT", "The image file is shorter than the disk it describes", {
      errno: "EIO",
      node: this.#node.nodeName,
      offset,
    });
  }

  *writeZeroes(offset: number, length: number, flags: WriteFlags): Op<void> {
    this.#checkStored(offset, length);
    yield* writeZeroes(this.#node.file, offset, length, flags);
  }

  *discard(offset: number, length: number): Op<void> {
    const stored = Math.min(length, this.#dataEnd - offset);
    if (stored > 0) yield* discard(this.#node.file, offset, stored);
  }

  flush(): Op<void> {
    return flush(this.#node.file);
  }

  /** Moves the footer; the new one is durable before the old one goes. */
  *truncate(size: number, options: TruncateOptions): Op<void> {
    if (options.preallocation === "metadata")
      throw new BlockError("ERR_UNSUPPORTED", "Unsupported preallocation mode 'metadata'");
    const geometry = resizedShape(this.identity, size);
    const file = this.#node.file;
    const old = this.#dataEnd;
    const footer = this.#footer.slice();
    resizeFooter(footer, size, geometry);
    if (size > old) yield* truncate(file, size + FOOTER_BYTES, options);
    yield* writeGrow(file, footer, size);
    yield* flush(file);
    if (size > old) yield* zeroGrow(file, old, Math.min(FOOTER_BYTES, size - old));
    else yield* truncate(file, size + FOOTER_BYTES, { preallocation: "off", exact: true });
    this.#footer.set(footer);
    this.#dataEnd = size;
    this.#size = size;
  }

  blockInfo(): BlockDriverInfo {
    return { dirty: false };
  }

  *close(): Op<void> {
    if (!this.#node.readOnly) yield* this.flush();
  }
}
