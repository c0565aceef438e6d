/** A new VDI image in one pass: header, block map, the blocks in guest order. */
import type { StreamContext, StreamPlan } from "../../block/driver.js";
import type { Op } from "../../block/op.js";
import { findRuns, partsOf, Runs, sendParts, tableParts, type Part } from "../shared/stream.js";
import { describe, type NewImage } from "./create.js";
import { BLOCK_SIZE, UNALLOCATED } from "./header.js";

export function* planVdiStream(context: StreamContext): Op<StreamPlan> {
  const { size, source } = context;
  const image = describe({ ...context.options }, size);
  let runs = new Runs();
  if (!image.isStatic) runs = yield* findRuns(source, size, BLOCK_SIZE);
  else if (image.blocks > 0) runs.add(0, image.blocks);
  return {
    length: image.dataOffset + runs.blocks * BLOCK_SIZE,
    write: (to) => sendParts(partsOfImage(image, runs), source, size, to),
  };
}

function* partsOfImage(image: NewImage, runs: Runs): Iterable<Part> {
  yield image.header(runs.blocks);
  let place = 0;
  const blocks = runs.each()[Symbol.iterator]();
  let next = blocks.next();
  yield* tableParts(image.blocks, 4, image.mapBytes, (view, first, count) => {
    for (let i = 0; i < count; i++) {
      const mine = !next.done && next.value === first + i;
      view.setUint32(i * 4, mine ? place++ : UNALLOCATED, true);
      if (mine) next = blocks.next();
    }
  });
  yield* partsOf(runs, BLOCK_SIZE);
}
