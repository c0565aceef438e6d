/** New images that a command makes on its way: overlays of snapshots, targets of mirrors and backups. */
import type { BlockdevOptions, OpenFlags } from "../block/context.js";
import { truncate } from "../block/io.js";
import type { Node } from "../block/node.js";
import { openNode } from "../block/open.js";
import type { Op } from "../block/op.js";
import { READ_WRITE } from "../block/flags.js";
import { createImage } from "../image/create.js";
import type { BlockCore } from "./block-core.js";

export interface TargetRequest {
  filename: string;
  /** null: probed. */
  format: string | null;
  mode: "existing" | "absolute-paths";
  /** Bytes of the new image. */
  size: number;
  /** Backing file written into the new image. */
  backing: Node | null;
  nodeName?: string | undefined;
  /** Like that of the source: cache mode, discard. */
  flags: OpenFlags;
  /** Open what the image names as its backing file. */
  openBacking: boolean;
}

/** Creates the image (unless it exists) and opens it. The caller owns a reference. */
export function* openTarget(core: BlockCore, request: TargetRequest): Op<Node> {
  const { filename, format, backing } = request;
  if (request.nodeName !== undefined) core.nodes.checkNames({ "node-name": request.nodeName }, (name) => core.devices.has(name));
  const protocol = format === null ? undefined : core.environment.drivers.get(format)?.createFile;
  if (request.mode === "absolute-paths" && protocol !== undefined) {
    // A plain file, without a format in it.
    const file = yield* protocol(core.environment, filename);
    yield* truncate(file, request.size, { preallocation: "off" });
    yield* file.unref();
  } else if (request.mode === "absolute-paths") {
    yield* createImage(core.environment, {
      filename,
      format: format ?? "raw",
      size: request.size,
      ...(backing === null ? {} : { backingFile: backing.filename, backingFormat: backing.driver.name }),
      unsafe: true,
      onFormatting: (line) => core.console?.(`${line}\n`, "stdout"),
    });
  }
  const options: BlockdevOptions = {
    ...(request.nodeName === undefined ? {} : { "node-name": request.nodeName }),
  };
  return yield* openNode(core.environment, {
    filename,
    ...(format === null ? {} : { driver: format }),
    options,
    flags: {
      ...READ_WRITE,
      unmap: true,
      direct: request.flags.direct,
      noFlush: request.flags.noFlush,
      writethrough: request.flags.writethrough,
      noBacking: !request.openBacking,
    },
  });
}
