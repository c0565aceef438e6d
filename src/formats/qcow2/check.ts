import { BlockError } from "../../base/error.js";
import type { Op } from "../../block/op.js";
import type { CheckOptions, ImageCheck } from "../../block/types.js";
import type { Qcow2 } from "./image.js";
// eslint-disable-next-line require-yield
export function* checkImage(_image: Qcow2, _options: CheckOptions): Op<ImageCheck> {
  throw new BlockError("ERR_UNSUPPORTED", "check is being written");
}
