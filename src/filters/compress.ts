/** `compress`: everything that is written is stored compressed. */
import { BlockError } from "../base/error.js";
import type { Driver, WriteFlags } from "../block/driver.js";
import { skipFilters } from "../block/graph.js";
import type { Child } from "../block/node.js";
import type { Op } from "../block/op.js";
import { PassThrough } from "../block/pass-through.js";

class Compress extends PassThrough {
  /** Compressed writes are of whole clusters: what is smaller is read, changed and written back. */
  readonly alignment: number;
  constructor(child: Child, clusterSize: number) {
    super(child);
    this.alignment = clusterSize;
  }
  override write(from: Uint8Array, offset: number, flags: WriteFlags): Op<void> {
    return super.write(from, offset, { ...flags, compressed: true });
  }
}

export const compress: Driver = {
  name: "compress",
  category: "filter",
  runtimeOptions: ["file"],
  *open(context) {
    const child = yield* context.openChild("file", "filtered");
    const { impl, driver } = skipFilters(child.node);
    if (impl.shape !== "mapped" || impl.writeCompressed === undefined) {
      throw new BlockError("ERR_UNSUPPORTED", `Compression is not supported for underlying format: ${driver.name}`, {
        errno: "ENOTSUP",
      });
    }
    return new Compress(child, impl.allocationUnit);
  },
};
