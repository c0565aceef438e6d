/** The qed driver: QEMU's enhanced disk format of 2010. */
import { BlockError, errnoError } from "../../base/error.js";
import type { OpenContext } from "../../block/context.js";
import type { Driver, MappedImpl } from "../../block/driver.js";
import { flush, readBytes } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { createQed, QED_CREATE_OPTIONS } from "./create.js";
import { backingNamePlace, decodeQedHeader, isQed, QED_HEADER_BYTES, readBackingName } from "./header.js";
import { Qed } from "./image.js";

function* openQed(context: OpenContext): Op<MappedImpl> {
  const { node, flags, environment } = context;
  yield* context.openChild("file", "image");
  const { file } = node;
  const bytes = yield* readBytes(file, 0, Math.min(QED_HEADER_BYTES, file.size));
  const header = decodeQedHeader(bytes, file.size);
  const name = backingNamePlace(bytes, header);
  if (name !== null && name.length > 0) {
    if (name.offset + name.length > file.size) throw errnoError("EINVAL", "Failed to read backing filename");
    header.backingFile = readBackingName(yield* readBytes(file, name.offset, name.length));
  }
  const image = new Qed(node, header, environment.memoryBudget);
  if (!flags.write) return image;
  if (header.autoclear.lo !== 0 || header.autoclear.hi !== 0) {
    // We know of none: what they stand for is no longer true once the image is written.
    header.autoclear = { hi: 0, lo: 0 };
    yield* image.writeHeader();
    yield* flush(file);
  }
  if (image.needsCheck) {
    if (flags.check) {
      image.closesClean = false;
    } else {
      const found = yield* image.check({ fix: "all", report: () => {} });
      if ((found.corruptions ?? 0) > 0)
        throw new BlockError("ERR_CORRUPT", "The image was not closed cleanly and could not be repaired", { errno: "EIO" });
    }
  }
  return image;
}

export const qed: Driver = {
  name: "qed",
  category: "format",
  mutableOptions: [],
  supportsBacking: true,
  createOptions: QED_CREATE_OPTIONS,
  probe: (head) => (isQed(head) ? 100 : 0),
  open: openQed,
  create: createQed,
};
