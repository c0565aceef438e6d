/** The VHDX format (Hyper-V): dynamic, fixed and differencing disks; specification MS-VHDX. */
import { startsWith } from "../../base/bytes.js";
import type { OpenContext } from "../../block/context.js";
import type { Driver } from "../../block/driver.js";
import type { Op } from "../../block/op.js";
import { measureStream } from "../shared/stream.js";
import { create, createOptions } from "./create.js";
import { createDifferencing } from "./create-differencing.js";
import type { VhdxImage } from "./image.js";
import { SIGNATURE } from "./layout.js";
import { openImage } from "./open.js";
import { planVhdxStream } from "./stream.js";

export const vhdx: Driver = {
  name: "vhdx",
  category: "format",
  mutableOptions: [],
  hasParents: true,
  probe: (head) => (startsWith(head, SIGNATURE) ? 100 : 0),
  createOptions,
  measure: (context) => measureStream(context, planVhdxStream),
  planStream: planVhdxStream,
  create(context) {
    const parent = context.options["backing_file"];
    return typeof parent === "string" ? createDifferencing(context, parent) : create(context);
  },
  *open(context: OpenContext): Op<VhdxImage> {
    yield* context.openChild("file", "image");
    return yield* openImage(context);
  },
};
