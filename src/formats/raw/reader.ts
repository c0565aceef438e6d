/** A raw driver that only reads, for bundles where each kilobyte counts: the file's bytes as they are. */
import { errnoError } from "../../base/error.js";
import type { OpenContext } from "../../block/context.js";
import type { Driver, InterceptImpl } from "../../block/driver.js";
import { ExtentKind } from "../../block/extent.js";
import { readPadded } from "../../block/io.js";
import type { Op } from "../../block/op.js";

export const rawReader: Driver = {
  name: "raw",
  category: "format",
  /** The smallest score there is: raw is what nobody else claims. */
  probe: () => 1,

  *open(context: OpenContext): Op<InterceptImpl> {
    if (context.flags.write) throw errnoError("EROFS", "This driver only reads raw images; use the driver 'raw' to write");
    yield* context.openChild("file", "data");
    const { node } = context;
    return {
      shape: "intercept",
      size: node.file.size,
      read: (into, offset) => readPadded(node.file, into, offset),
      // eslint-disable-next-line require-yield
      *status(offset, length, out) {
        out.push(offset, length, ExtentKind.data, node.file, offset);
      },
      blockInfo: () => ({}),
      *flush() {},
      *close() {},
    };
  },
};
