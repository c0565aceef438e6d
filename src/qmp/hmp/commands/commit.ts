/** `commit`: what an image holds goes down into its backing file. */
import { BlockError, strerror, toBlockError } from "../../../base/error.js";
import { drained, skipImplicit } from "../../../block/graph.js";
import type { Op } from "../../../block/op.js";
import { commitImage } from "../../../image/commit.js";
import type { BlockCore } from "../../command.js";
import type { Device } from "../../device.js";
import { device, text, type HmpCommand } from "../command.js";

function* commitDevice(core: BlockCore, { backend }: Device): Op<void> {
  const top = skipImplicit(backend.node);
  if (top.backing === null) throw new BlockError("ERR_UNSUPPORTED", strerror("ENOTSUP"), { errno: "ENOTSUP" });
  core.checkFree(top);
  core.checkFree(top.backing);
  yield* drained(top, () => commitImage(top));
}

export const commit: HmpCommand = {
  name: "commit",
  parameters: [device],
  usage: "device|all",
  summary: "commit changes to the disk images (if -snapshot is used) or backing files",
  *run(core, out, args) {
    const name = text(args, "device");
    const failed = (error: unknown): void => {
      const { code, errno } = toBlockError(error);
      out.print(`'commit' error for '${name}': ${strerror(code === "ERR_BUSY" ? "EBUSY" : errno)}\n`);
    };
    if (name === "all") {
      for (const each of [...core.devices.values()]) {
        if (each.backend.root === null || skipImplicit(each.backend.root).backing === null) continue;
        try {
          yield* commitDevice(core, each);
        } catch (error) {
          failed(error);
          return;
        }
      }
      return;
    }
    const found = core.devices.get(name);
    if (found === undefined || found.backend.root === null || found.isTrayOpen) {
      out.print(`Device '${name}' ${found === undefined ? "not found" : "has no medium"}\n`);
      return;
    }
    try {
      yield* commitDevice(core, found);
    } catch (error) {
      failed(error);
    }
  },
};
