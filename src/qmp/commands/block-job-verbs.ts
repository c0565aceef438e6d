/** block-job-pause and its like: verbs on block jobs by `device`, which is the job's ID. */
import { BlockError } from "../../base/error.js";
import type { Job } from "../../jobs/job.js";
import { bool, int64, optional, str, struct, toSafeNumber } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { dialectError } from "../profile.js";

/** Not by its name: block-core.ts knows the commands. */
type BlockCore = Parameters<Command["run"]>[0];

const byDevice = struct("block-job-arg", { device: str() });
const byJob = struct("block-job-id-arg", { id: str() });

function verb(name: string, since: string, summary: string, act: (job: Job, core: BlockCore) => void): Command {
  return command({
    name,
    since,
    summary,
    arguments: byDevice,
    returns: null,
    // eslint-disable-next-line require-yield
    *run(core, args) {
      act(core.jobs.findBlockJob(args.device), core);
    },
  });
}
function verbById(name: string, summary: string, act: (job: Job) => void): Command {
  return command({
    name,
    since: "2.12",
    summary,
    arguments: byJob,
    returns: null,
    profiles: ["qemu-7.2"],
    // eslint-disable-next-line require-yield
    *run(core, args) {
      act(core.jobs.findBlockJob(args.id));
    },
  });
}

export const blockJobPause: Command = verb("block-job-pause", "1.3", "Pauses a block job.", (job, core) => {
  if (core.profile === "qemu-2.2" && job.isUserPaused) return;
  job.pause();
});
export const blockJobResume: Command = verb(
  "block-job-resume",
  "1.3",
  "Lets a paused block job go on and forgets its I/O error.",
  (job, core) => {
    if (!job.isUserPaused) {
      if (core.profile === "qemu-2.2") return;
      throw new BlockError("ERR_INVALID_ARGUMENT", "Can't resume a job that was not paused");
    }
    job.resume();
  },
);
export const blockJobComplete: Command = verb(
  "block-job-complete",
  "1.3",
  "Completes a mirror or active commit that is ready.",
  (job, core) => {
    if (core.profile === "qemu-2.2" && job.isPaused)
      throw new BlockError("ERR_BUSY", `The block job for device '${job.id}' is currently paused`);
    job.complete();
  },
);
export const blockJobFinalize: Command = verbById("block-job-finalize", "Makes the changes of a pending block job.", (job) =>
  job.finalize(),
);
export const blockJobDismiss: Command = verbById("block-job-dismiss", "Forgets a block job that is over.", (job) =>
  job.dismiss(),
);

export const blockJobCancel: Command = command({
  name: "block-job-cancel",
  since: "1.1",
  summary: "Cancels a block job; a mirror that is ready ends with its target as a copy, unless `force`.",
  arguments: struct("block-job-cancel-arg", { device: str(), force: optional(bool()) }),
  returns: null,
  // eslint-disable-next-line require-yield
  *run(core, args) {
    const job = core.jobs.findBlockJob(args.device);
    const force = args.force ?? false;
    if (job.isUserPaused && !force)
      throw new BlockError("ERR_BUSY", `The block job for device '${args.device}' is currently paused`);
    job.cancel(force);
  },
});

export const blockJobSetSpeed: Command = command({
  name: "block-job-set-speed",
  since: "1.1",
  summary: "Limits a block job to so many bytes per second; 0: no limit.",
  arguments: struct("block-job-set-speed-arg", { device: str(), speed: int64() }),
  returns: null,
  // eslint-disable-next-line require-yield
  *run(core, args) {
    const job = core.jobs.findBlockJob(args.device);
    job.check("set-speed");
    if (args.speed < 0) throw dialectError(core.profile, "bad-speed", "Parameter 'speed' expects a non-negative value");
    job.setSpeed(toSafeNumber(args.speed, "speed"));
  },
});
