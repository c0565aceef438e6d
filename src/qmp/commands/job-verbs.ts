/** job-pause and its like: one verb each, on any job. */
import type { Job } from "../../jobs/job.js";
import { str, struct } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";

const byId = struct("job-arg", { id: str() });

function verb(name: string, summary: string, act: (job: Job) => void): Command {
  return command({
    name,
    since: "3.0",
    summary,
    arguments: byId,
    returns: null,
    profiles: ["qemu-7.2"],
    // eslint-disable-next-line require-yield
    *run(core, args) {
      act(core.jobs.find(args.id));
    },
  });
}

export const jobPause: Command = verb("job-pause", "Pauses a job.", (job) => job.pause());
export const jobResume: Command = verb("job-resume", "Lets a paused job go on.", (job) => job.resume());
export const jobCancel: Command = verb("job-cancel", "Cancels a job at once.", (job) => job.cancel(true));
export const jobComplete: Command = verb("job-complete", "Completes a job that is ready.", (job) => job.complete());
export const jobFinalize: Command = verb("job-finalize", "Makes the changes of a pending job (and of its transaction).", (job) =>
  job.finalize(),
);
export const jobDismiss: Command = verb("job-dismiss", "Forgets a job that is over.", (job) => job.dismiss());
