/** Finding the footer that counts: the copy at the beginning of dynamic images, else the one at the end. */
import { BlockError } from "../../base/error.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { FOOTER_BYTES, hasCookie, isIntact, parseFooter, VHD_FIXED, type Footer } from "./footer.js";

export interface FoundFooter {
  bytes: Uint8Array;
  footer: Footer;
  isFixed: boolean;
  /** Byte offset of the footer at the end of the file. */
  tailOffset: number;
}

export function* findFooter(file: Node, warn: (message: string) => void): Op<FoundFooter> {
  const head = yield* readBytes(file, 0, FOOTER_BYTES);
  const tailOffset = Math.max(0, Math.ceil(file.size / 512) * 512 - FOOTER_BYTES);
  const tail = yield* readBytes(file, tailOffset, FOOTER_BYTES);
  const found = (bytes: Uint8Array, isFixed: boolean): FoundFooter => ({
    bytes,
    footer: parseFooter(bytes),
    isFixed,
    tailOffset,
  });
  if (!hasCookie(head)) {
    if (file.size < FOOTER_BYTES) throw new BlockError("ERR_NOT_THIS_FORMAT", "File too small for a VHD header");
    if (!hasCookie(tail))
      throw new BlockError("ERR_NOT_THIS_FORMAT", "invalid VPC image: there is no footer at its beginning or end");
    if (!isIntact(tail)) throw new BlockError("ERR_CORRUPT", "Incorrect header checksum");
    if (parseFooter(tail).type !== VHD_FIXED)
      throw new BlockError("ERR_CORRUPT", "invalid VPC image: of a disk that is not fixed the beginning is missing");
    return found(tail, true);
  }
  const tailIntact = isIntact(tail);
  if (!isIntact(head)) {
    // A fixed disk may begin with such bytes by chance; a dynamic one has lost its copy.
    if (!tailIntact || tailOffset === 0) throw new BlockError("ERR_CORRUPT", "Incorrect header checksum");
    const isFixed = parseFooter(tail).type === VHD_FIXED;
    if (!isFixed) warn(`The footer copy at the beginning of '${file.filename}' is damaged; using the one at the end`);
    return found(tail, isFixed);
  }
  // Files that were padded, or hold the image inside a larger disk, have something else at their end: no reason to worry anyone.
  if (!tailIntact && hasCookie(tail))
    warn(`The footer at the end of '${file.filename}' is damaged; using its copy at the beginning`);
  if (tailIntact && parseFooter(tail).type === VHD_FIXED) return found(tail, true);
  return found(head, false);
}
