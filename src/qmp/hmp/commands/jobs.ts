/** Jobs of a drive, which carry its name. */
import { device, flag, given, maybe, text, word, type HmpCommand } from "../command.js";

export const blockStream: HmpCommand = {
  name: "block_stream",
  parameters: [device, maybe({ name: "speed", type: "size" }), maybe(word("base"))],
  usage: "device [speed [base]]",
  summary: "copy data from a backing file into a block device",
  *run(core, _out, args) {
    const name = text(args, "device");
    yield* core.perform("block-stream", given({ "job-id": name, device: name, base: args["base"], speed: args["speed"] }));
  },
};

export const blockJobSetSpeed: HmpCommand = {
  name: "block_job_set_speed",
  parameters: [device, { name: "speed", type: "size" }],
  usage: "device speed",
  summary: "set maximum speed for a background block operation",
  *run(core, _out, args) {
    yield* core.perform("block-job-set-speed", given({ device: text(args, "device"), speed: args["speed"] }));
  },
};

export const blockJobCancel: HmpCommand = {
  name: "block_job_cancel",
  parameters: [flag("f", "force"), device],
  usage: "[-f] device",
  summary: "stop an active background block operation (use -f to abort immediately)",
  *run(core, _out, args) {
    yield* core.perform("block-job-cancel", { device: text(args, "device"), force: args["force"] === true });
  },
};

const verb = (name: string, command: string, summary: string): HmpCommand => ({
  name,
  parameters: [device],
  usage: "device",
  summary,
  *run(core, _out, args) {
    yield* core.perform(command, { device: text(args, "device") });
  },
});

export const blockJobComplete: HmpCommand = verb(
  "block_job_complete",
  "block-job-complete",
  "stop an active background block operation",
);
export const blockJobPause: HmpCommand = verb("block_job_pause", "block-job-pause", "pause an active background block operation");
export const blockJobResume: HmpCommand = verb(
  "block_job_resume",
  "block-job-resume",
  "resume a paused background block operation",
);
