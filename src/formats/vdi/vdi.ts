/** The VDI format (VirtualBox): dynamic and static images of version 1.1 with 1 MiB blocks, as QEMU supports them. */
import { BlockError } from "../../base/error.js";
import type { OpenContext } from "../../block/context.js";
import type { Driver } from "../../block/driver.js";
import { readBytes } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { isParentGiven, refuseParent } from "../shared/parent.js";
import { measureStream } from "../shared/stream.js";
import { create, createOptions } from "./create.js";
import { planVdiStream } from "./stream.js";
import { HEADER_BYTES, isVdi, parseHeader } from "./header.js";
import { VdiImage } from "./image.js";

/** A map that ends behind the file reads as zeros there, as in QEMU; but not more of it than this. */
const MAX_MISSING_MAP = 1048576;

export const vdi: Driver = {
  name: "vdi",
  category: "format",
  mutableOptions: [],
  hasParents: true,
  probe: (head) => (isVdi(head) ? 100 : 0),
  createOptions,
  measure: (context) => measureStream(context, planVdiStream),
  planStream: planVdiStream,
  create,
  *open(context: OpenContext): Op<VdiImage> {
    yield* context.openChild("file", "image");
    const file = context.node.file;
    const bytes = yield* readBytes(file, 0, HEADER_BYTES);
    const header = parseHeader(bytes, isParentGiven(context.node));
    if (!header.isDifferencing) refuseParent(context.node);
    const mapEnd = header.bmapOffset + header.blocksInImage * 4;
    if (mapEnd - Math.max(file.size, header.bmapOffset) > MAX_MISSING_MAP) {
      throw new BlockError("ERR_CORRUPT", `The block map (${header.blocksInImage} entries) reaches behind the end of the file`);
    }
    if (context.flags.write && (header.bmapOffset < HEADER_BYTES || header.dataOffset < mapEnd)) {
      throw new BlockError("ERR_CORRUPT", "Header, block map and data of the image overlap; it can only be opened read-only");
    }
    return yield* VdiImage.open(context.node, header, bytes);
  },
};
