/** A writable image on top of another that nobody keeps: what `-s` of qemu-io and qemu-nbd asks for. */
import { BlockError } from "../base/error.js";
import type { Environment } from "../block/context.js";
import type { Node } from "../block/node.js";
import { openNode } from "../block/open.js";
import type { Op } from "../block/op.js";
import { createImage } from "../block/create.js";

/** Makes a qcow2 overlay of `base` in the empty, writable `file`; takes over both references, also when it fails. */
export function* temporaryOverlay(environment: Environment, base: Node, file: Node): Op<Node> {
  try {
    const driver = environment.drivers.get("qcow2");
    if (driver === undefined) throw new BlockError("ERR_UNSUPPORTED", "Temporary snapshots need the qcow2 driver");
    yield* createImage(environment, { driver, filename: file.filename, size: base.size, options: {}, file });
    return yield* openNode(environment, {
      driver: "qcow2",
      options: { file, backing: base },
      flags: { write: true, unmap: true, noFlush: true },
    });
  } finally {
    yield* file.unref();
    yield* base.unref();
  }
}
