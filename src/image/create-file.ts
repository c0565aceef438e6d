/** Making the file of an image, and removing it again when the image could not be made. */
import type { Environment } from "../block/context.js";
import { createImage as createInto } from "../block/create.js";
import type { Driver } from "../block/driver.js";
import type { Op } from "../block/op.js";
import { alignUp } from "../base/int.js";
import { protocolForCreate } from "./create-options.js";
import { SECTOR } from "./open.js";

/** @param size bytes, rounded up to sectors */
export function* createFileWithImage(
  environment: Environment,
  driver: Driver,
  filename: string,
  size: number,
  options: Readonly<Record<string, unknown>>,
): Op<void> {
  try {
    yield* createInto(environment, { driver, filename, size: alignUp(size, SECTOR), options });
  } catch (error) {
    // A raw file is what it is; what was to become a format is of no use to anybody.
    if (driver.name !== "raw" && !(error as Error).message.startsWith("Could not create '")) {
      try {
        yield* protocolForCreate(environment, filename).deleteFile?.(filename) ?? nothing();
      } catch {
        // the first failure is what the user needs to see
      }
    }
    throw error;
  }
}

// eslint-disable-next-line require-yield
function* nothing(): Op<void> {}
