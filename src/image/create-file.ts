/** Making the file of an image, and removing it again when the image could not be made. */
import type { Environment } from "../block/context.js";
import { createFile, createImage as createInto, type CreateRequest } from "../block/create.js";
import type { Driver } from "../block/driver.js";
import { READ_WRITE } from "../block/flags.js";
import { truncate } from "../block/io.js";
import { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { storageObjectDriver } from "../block/protocol.js";
import type { Preallocation, Storage } from "../storage/storage.js";
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
  if (driver.create === undefined && driver.createFile !== undefined) {
    const plain = yield* driver.createFile(environment, filename);
    try {
      yield* truncate(plain, size, { preallocation: (options["preallocation"] as Preallocation | undefined) ?? "off" });
    } finally {
      yield* plain.unref();
    }
    return;
  }
  const request = { driver, filename, size: alignUp(size, SECTOR), options };
  rehearse(environment, request);
  // What cannot be made is not ours to remove: somebody may be using it.
  const file = yield* createFile(environment, filename);
  let failure: { error: unknown } | null = null;
  for (const step of [createInto(environment, { ...request, file }), file.unref()]) {
    try {
      yield* step;
    } catch (error) {
      failure ??= { error };
    }
  }
  if (failure === null) return;
  // A raw file is what it is; what was to become a format is of no use to anybody.
  if (driver.name !== "raw") {
    try {
      yield* protocolForCreate(environment, filename).deleteFile?.(filename) ?? nothing();
    } catch {
      // the first failure is what the user needs to see
    }
  }
  throw failure.error;
}

/**
 * Goes as far as creating does before it touches its file, and throws what that says of the options: a typing error must not cost
 * anybody the image that has the name already.
 */
function rehearse(environment: Environment, request: CreateRequest): void {
  const file = new Node(environment, storageObjectDriver, { "node-name": "" }, READ_WRITE);
  file.impl = { shape: "storage", storage: NOWHERE, size: 0, close: nothing };
  createInto(environment, { ...request, file }).next();
}
/** The first request to it is the end of the rehearsal. */
const NOWHERE = {} as Storage;

// eslint-disable-next-line require-yield
function* nothing(): Op<void> {}
