/** Mirrors a node into another one. */
import { struct } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { mirrorMembers, startMirror, type MirrorArguments } from "../start-mirror.js";

export const blockdevMirror: Command = command({
  name: "blockdev-mirror",
  since: "2.6",
  summary: "Starts a job that keeps `target` a copy of `device` until it is completed or cancelled.",
  arguments: struct("blockdev-mirror-arg", mirrorMembers),
  returns: null,
  profiles: ["qemu-7.2"],
  *run(core, given) {
    const args = given as unknown as MirrorArguments & { target: string };
    const source = core.root(args.device);
    const target = core.any(args.target);
    yield* startMirror(core, args, { source, target, unmap: true, targetIsZero: false });
  },
});
