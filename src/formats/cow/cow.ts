/** The cow driver: the copy-on-write format of user-mode Linux, which QEMU had until version 2.1. */
import { BlockError } from "../../base/error.js";
import { alignUp, divCeil } from "../../base/int.js";
import type { CreateContext, OpenContext } from "../../block/context.js";
import type { Driver, MappedImpl } from "../../block/driver.js";
import { readBytes, truncate, writeGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { COW_HEADER_BYTES, COW_SECTOR, decodeCowHeader, encodeCowHeader, isCow } from "./header.js";
import { Cow } from "./image.js";

function* openCow(context: OpenContext): Op<MappedImpl> {
  yield* context.openChild("file", "image");
  const { file } = context.node;
  const header = decodeCowHeader(yield* readBytes(file, 0, Math.min(COW_HEADER_BYTES, file.size)));
  return new Cow(context.node, header, context.environment.memoryBudget);
}

export const cow: Driver = {
  name: "cow",
  category: "format",
  supportsBacking: true,
  createOptions: [
    { name: "size", type: "size", help: "Virtual disk size" },
    { name: "backing_file", type: "string", help: "File name of a base image" },
  ],
  probe: (head) => (isCow(head) ? 100 : 0),
  open: openCow,

  *create(context: CreateContext): Op<void> {
    const { file, options } = context;
    if (context.size < 0) throw new BlockError("ERR_INVALID_ARGUMENT", "Image creation needs a size parameter");
    const given = options["backing_file"];
    const size = alignUp(context.size, COW_SECTOR);
    const header = encodeCowHeader({ size, backingFile: typeof given === "string" && given !== "" ? given : null });
    decodeCowHeader(header); // sizes that could not be opened are refused now
    yield* truncate(file, 0, { preallocation: "off" });
    // The bitmap reads as zeros: nothing was there before.
    yield* truncate(file, COW_HEADER_BYTES + divCeil(size / COW_SECTOR, 8), { preallocation: "off" });
    yield* writeGrow(file, header, 0);
  },
};
