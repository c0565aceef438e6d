/** A new VHDX image in one pass: header section, empty log, table, metadata, the blocks in guest order. */
import type { StreamContext, StreamPlan } from "../../block/driver.js";
import type { Op } from "../../block/op.js";
import { findRuns, partsOf, Runs, sendParts, tableParts, type Part } from "../shared/stream.js";
import { entryOf } from "./bat.js";
import { describe, headerSection, metadata, putEntries, type NewImage } from "./create.js";
import { BlockState, HEADER_SECTION_BYTES } from "./layout.js";

export function* planVhdxStream(context: StreamContext): Op<StreamPlan> {
  const { size, source } = context;
  const image = describe({ ...context.options }, size);
  let runs = new Runs();
  if (!image.fixed) runs = yield* findRuns(source, size, image.blockSize);
  else if (image.blocks > 0) runs.add(0, image.blocks);
  return {
    length: image.dataOffset + runs.blocks * image.blockSize,
    write: (to) => sendParts(partsOfImage(image, runs), source, size, to),
  };
}

function* partsOfImage(image: NewImage, runs: Runs): Iterable<Part> {
  const front = new Uint8Array(HEADER_SECTION_BYTES);
  for (const [offset, bytes] of headerSection(image)) front.set(bytes, offset);
  yield front;
  yield { zeros: image.logSize };
  const missing = entryOf(image.zeroState ? BlockState.zero : BlockState.notPresent, 0);
  let place = image.dataOffset;
  const blocks = runs.each()[Symbol.iterator]();
  let next = blocks.next();
  const entryFor = (block: number): number => {
    if (next.done || next.value !== block) return missing;
    next = blocks.next();
    const at = place;
    place += image.blockSize;
    return entryOf(BlockState.fullyPresent, at);
  };
  yield* tableParts(image.entries, 8, image.batLength, (view, first, count) => putEntries(view, image, first, count, entryFor));
  const items = metadata(image);
  yield items;
  yield { zeros: image.dataOffset - image.metadataOffset - items.length };
  yield* partsOf(runs, image.blockSize);
}
