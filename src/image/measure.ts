/** How many bytes a new image would need. */
import { BlockError } from "../base/error.js";
import type { Environment } from "../block/context.js";
import type { Measure } from "../block/driver.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import type { Opt } from "../qapi/options.js";
import { createOptionTable, readCreateOptions } from "./create-options.js";
import { imageSize } from "./open.js";

export interface MeasureRequest {
  /** Format of the image to be. */
  format: string;
  options?: readonly Opt[];
  /** Virtual size in bytes; or the image whose content is to be converted. */
  size?: number;
  source?: Node;
}

export function* measureImage(environment: Environment, request: MeasureRequest): Op<Measure> {
  const driver = environment.drivers.get(request.format);
  if (driver === undefined) throw new BlockError("ERR_UNSUPPORTED", `Unknown file format '${request.format}'`, { errno: "EINVAL" });
  if (driver.createOptions === undefined) {
    throw new BlockError("ERR_UNSUPPORTED", `Format driver '${request.format}' does not support image creation`, { errno: "ENOTSUP" });
  }
  const options = readCreateOptions(createOptionTable(driver, null), request.options ?? []);
  if (driver.measure === undefined) {
    throw new BlockError("ERR_UNSUPPORTED", `Block driver '${request.format}' does not support size measurement`, { errno: "ENOTSUP" });
  }
  const source = request.source ?? null;
  const size = source !== null ? imageSize(source) : (request.size ?? (options["size"] as number | undefined) ?? 0);
  if (!Number.isSafeInteger(size)) throw new BlockError("ERR_TOO_LARGE", "The image size is too large", { errno: "EFBIG" });
  return yield* driver.measure({ options, size, source });
}
