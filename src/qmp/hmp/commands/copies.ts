/** `drive_backup`, `drive_mirror`: copies of a drive as jobs of its name. */
import { device, flag, given, maybe, text, word, type HmpArguments, type HmpCommand } from "../command.js";

const target = (args: HmpArguments): ReturnType<typeof given> =>
  given({
    device: text(args, "device"),
    target: text(args, "target"),
    format: args["format"],
    sync: args["full"] === true ? "full" : "top",
    mode: args["reuse"] === true ? "existing" : "absolute-paths",
  });

export const driveMirror: HmpCommand = {
  name: "drive_mirror",
  parameters: [flag("n", "reuse"), flag("f", "full"), device, word("target"), maybe(word("format"))],
  usage: "[-n] [-f] device target [format]",
  summary:
    "copies a device's content, and all that is written from now on, to a new image (-n: to one that exists; -f: the whole disk)",
  *run(core, _out, args) {
    yield* core.perform("drive-mirror", target(args));
  },
};

export const driveBackup: HmpCommand = {
  name: "drive_backup",
  parameters: [flag("n", "reuse"), flag("f", "full"), flag("c", "compress"), device, word("target"), maybe(word("format"))],
  usage: "[-n] [-f] [-c] device target [format]",
  summary: "copies a device's content as it is now to a new image (-n: to one that exists; -f: the whole disk; -c: compressed)",
  *run(core, _out, args) {
    yield* core.perform("drive-backup", { ...target(args), ...(args["compress"] === true ? { compress: true } : {}) });
  },
};
