/** Mirrors a node into a file, made for it. */
import { BlockError } from "../../base/error.js";
import { skipFilters } from "../../block/graph.js";
import { openOwnBacking } from "../../block/open.js";
import { startsZeroed } from "../../image/convert.js";
import { bool, optional, str, struct } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { openTarget } from "../create-target.js";
import { newImageMode } from "../schema/common.js";
import { checkMirror, mirrorMembers, startMirror, type MirrorArguments } from "../start-mirror.js";

export const driveMirror: Command = command({
  name: "drive-mirror",
  since: "1.3",
  summary: "Starts a job that keeps a file a copy of `device` until it is completed or cancelled.",
  arguments: struct("DriveMirror", {
    ...mirrorMembers,
    format: optional(str()),
    "node-name": optional(str()),
    mode: optional(newImageMode),
    unmap: optional(bool()),
  }),
  returns: null,
  *run(core, given) {
    const args = given as unknown as MirrorArguments & {
      target: string;
      format?: string;
      "node-name"?: string;
      mode?: "existing" | "absolute-paths";
      unmap?: boolean;
    };
    const source = core.root(args.device);
    core.checkFree(source);
    checkMirror(args);
    core.jobs.idFor(args["job-id"], core.deviceOf(source)?.name ?? "");
    const mode = args.mode ?? "absolute-paths";
    const below = skipFilters(source).backing;
    let { sync } = args;
    if (sync === "top" && below === null) sync = "full";
    if (args.replaces !== undefined && args["node-name"] === undefined) {
      throw new BlockError("ERR_INVALID_ARGUMENT", "a node-name must be provided when replacing a named node of the graph");
    }
    const backing = sync === "top" ? below : sync === "none" ? source : null;
    const target = yield* openTarget(core, {
      filename: args.target,
      format: args.format ?? (mode === "existing" ? null : source.driver.name),
      mode,
      size: source.size,
      backing: sync === "full" ? null : backing,
      nodeName: args["node-name"],
      flags: source.flags,
      openBacking: false,
    });
    try {
      yield* startMirror(
        core,
        { ...args, sync },
        {
          source,
          target,
          unmap: args.unmap ?? true,
          targetIsZero: mode === "absolute-paths" && startsZeroed(target),
          *beforeReplace() {
            if (mode === "existing") {
              if (target.driver.supportsBacking === true) yield* openOwnBacking(target);
              return;
            }
            // The new image names the same backing file that the source has.
            if (sync !== "full" && backing !== null && target.driver.supportsBacking === true && target.backing === null)
              target.attach("backing", "backing", backing.ref());
          },
        },
      );
    } finally {
      yield* target.unref();
    }
  },
});
