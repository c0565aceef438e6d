/** Another backing file string in an image. */
import { BlockError } from "../../base/error.js";
import { drained } from "../../block/graph.js";
import type { Node } from "../../block/node.js";
import { setWritable } from "../../block/reopen.js";
import { str, struct } from "../../qapi/schema.js";
import { changeBackingFile as change } from "../../image/backing.js";
import { below } from "../../block/graph.js";
import { command, type Command } from "../command.js";

export const changeBackingFile: Command = command({
  name: "change-backing-file",
  since: "2.1",
  summary: "Rewrites the name of the backing file in an image; the name is not checked and nothing is reopened.",
  arguments: struct("change-backing-file-arg", { device: str(), "image-node-name": str(), "backing-file": str() }),
  returns: null,
  *run(core, args) {
    const top = core.root(args.device);
    const image = core.node(args["image-node-name"]);
    if (image.backing === null)
      throw new BlockError("ERR_INVALID_ARGUMENT", "not allowing backing file change on an image without a backing file");
    if (!chainContains(top, image)) throw new BlockError("ERR_INVALID_ARGUMENT", "image file not in block device chain");
    core.checkFree(image);
    const wasReadOnly = image.readOnly;
    yield* drained(image, function* () {
      if (wasReadOnly) yield* setWritable(image, true);
      try {
        yield* change(image, args["backing-file"], image.backing!.driver.name);
      } finally {
        if (wasReadOnly) yield* setWritable(image, false);
      }
    });
  },
});

export function chainContains(top: Node, wanted: Node): boolean {
  for (let at: Node | null = top; at !== null; at = below(at)) if (at === wanted) return true;
  return false;
}
