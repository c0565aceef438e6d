/** The VHDX format (Hyper-V): dynamic, fixed and differencing disks; specification MS-VHDX. */
import { startsWith } from "../../base/bytes.js";
import type { OpenContext } from "../../block/context.js";
import type { Driver } from "../../block/driver.js";
import type { Op } from "../../block/op.js";
import { create, createOptions } from "./create.js";
import type { VhdxImage } from "./image.js";
import { SIGNATURE } from "./layout.js";
import { openImage } from "./open.js";

export const vhdx: Driver = {
  name: "vhdx",
  category: "format",
  mutableOptions: [],
  hasParents: true,
  probe: (head) => (startsWith(head, SIGNATURE) ? 100 : 0),
  createOptions,
  create,
  *open(context: OpenContext): Op<VhdxImage> {
    yield* context.openChild("file", "image");
    return yield* openImage(context);
  },
};
