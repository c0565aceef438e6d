/** The header of a compressed loop image (cloop 2.0): a script, two numbers, and the offsets of the compressed blocks; big-endian. */
import { encodeText, readU64BE, startsWith, viewOf } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { MiB } from "../../base/int.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";

const SCRIPT: Uint8Array = /* @__PURE__ */ encodeText(
  "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n",
);
const NUMBERS_OFFSET = 128;
const OFFSETS_OFFSET = 136;
const MAX_BLOCK_SIZE: number = 64 * MiB;
/** QEMU's limit on the number of blocks. */
const MAX_BLOCKS = 536870911;
/** Largest offset table we read: 8 million blocks, 512 GiB with the usual 64 KiB blocks. QEMU allows eight times as much. */
const MAX_TABLE: number = 64 * MiB;

export interface CloopHeader {
  blockSize: number;
  blocks: number;
  /** Byte offsets of the compressed blocks, and the end of the last one. */
  offsets: Float64Array;
}

/** QEMU's test, of as many bytes as there are. */
export function isCloop(head: Uint8Array): boolean {
  const length = Math.min(SCRIPT.length, head.length);
  return length > 0 && startsWith(head, SCRIPT.subarray(0, length));
}

const corrupt = (what: string): BlockError => new BlockError("ERR_CORRUPT", what);

export function* readHeader(file: Node): Op<CloopHeader> {
  const numbers = viewOf(yield* readBytes(file, NUMBERS_OFFSET, 8));
  const blockSize = numbers.getUint32(0, false);
  const blocks = numbers.getUint32(4, false);
  if (blockSize === 0) throw corrupt("block_size cannot be zero");
  if (blockSize % 512 !== 0) throw corrupt(`block_size ${blockSize} must be a multiple of 512`);
  if (blockSize > MAX_BLOCK_SIZE) throw corrupt(`block_size ${blockSize} must be ${MAX_BLOCK_SIZE / MiB} MB or less`);
  if (blocks > MAX_BLOCKS) throw corrupt(`n_blocks ${blocks} must be ${MAX_BLOCKS} or less`);
  const tableBytes = (blocks + 1) * 8;
  if (tableBytes > MAX_TABLE) throw new BlockError("ERR_TOO_LARGE", "image requires too many offsets, try increasing block size");
  if (OFFSETS_OFFSET + tableBytes > file.size) throw corrupt("the table of block offsets reaches behind the end of the file");
  const view = viewOf(yield* readBytes(file, OFFSETS_OFFSET, tableBytes));
  const offsets = new Float64Array(blocks + 1);
  for (let i = 0; i <= blocks; i++) {
    offsets[i] = readU64BE(view, i * 8);
    if (i === 0) continue;
    const size = offsets[i]! - offsets[i - 1]!;
    if (!(size >= 0)) throw corrupt(`offsets not monotonically increasing at index ${i}, image file is corrupt`);
    if (size > 2 * blockSize + 4096) throw corrupt(`invalid compressed block size at index ${i}, image file is corrupt`);
  }
  return { blockSize, blocks, offsets };
}
