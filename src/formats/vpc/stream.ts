/** A new VHD in one pass: footer, header, table, the blocks in guest order each behind its bitmap, footer; fixed: the disk, footer. */
import { alignUp } from "../../base/int.js";
import { BlockError } from "../../base/error.js";
import type { StreamContext, StreamPlan } from "../../block/driver.js";
import type { Op } from "../../block/op.js";
import { findRuns, sendParts, tableParts, type Part, type Runs } from "../shared/stream.js";
import { BLOCK_SIZE, describe, TABLE_OFFSET, type NewImage } from "./create.js";
import { bitmapSizeOf, DYNAMIC_HEADER_BYTES } from "./dynamic-header.js";
import { NO_BLOCK } from "./dynamic-image.js";
import { FOOTER_BYTES, SECTOR } from "./footer.js";

const BITMAP_BYTES: number = bitmapSizeOf(BLOCK_SIZE);

export function* planVpcStream(context: StreamContext): Op<StreamPlan> {
  const { environment, size, source } = context;
  const options = { ...context.options };
  if (options["backing_file"] !== undefined) {
    throw new BlockError("ERR_UNSUPPORTED", "A differencing image cannot be written to a stream", { errno: "ENOTSUP" });
  }
  const image = describe(options, size, environment.now());
  if (image.fixed) {
    const parts: Part[] = [{ from: 0, to: image.size }, image.footer];
    return { length: image.size + FOOTER_BYTES, write: (to) => sendParts(parts, source, size, to) };
  }
  const runs = yield* findRuns(source, size, BLOCK_SIZE);
  const tableBytes = alignUp(image.entries * 4, SECTOR);
  const dataOffset = TABLE_OFFSET + tableBytes;
  const length = dataOffset + runs.blocks * (BITMAP_BYTES + BLOCK_SIZE) + FOOTER_BYTES;
  // Entries count sectors, in 32 bits.
  if (length / SECTOR >= NO_BLOCK) throw new BlockError("ERR_TOO_LARGE", "The image is too large for a VHD", { errno: "EFBIG" });
  return { length, write: (to) => sendParts(dynamicParts(image, runs, tableBytes, dataOffset), source, size, to) };
}

function* dynamicParts(image: NewImage, runs: Runs, tableBytes: number, dataOffset: number): Iterable<Part> {
  yield image.footer;
  yield image.header.subarray(0, DYNAMIC_HEADER_BYTES);
  let record = dataOffset / SECTOR;
  const blocks = runs.each()[Symbol.iterator]();
  let next = blocks.next();
  yield* tableParts(
    image.entries,
    4,
    tableBytes,
    (view, first, count) => {
      for (; !next.done && next.value < first + count; next = blocks.next()) {
        view.setUint32((next.value - first) * 4, record, false);
        record += (BITMAP_BYTES + BLOCK_SIZE) / SECTOR;
      }
    },
    0xff,
  );
  const bitmap = new Uint8Array(BITMAP_BYTES).fill(0xff);
  for (const block of runs.each()) {
    yield bitmap;
    yield { from: block * BLOCK_SIZE, to: (block + 1) * BLOCK_SIZE };
  }
  yield image.footer;
}
