/** All jobs. */
import { array } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { jobInfo } from "../describe.js";
import { jobInfoType } from "../schema/results.js";

export const queryJobs: Command = command({
  name: "query-jobs",
  since: "3.0",
  summary: "All jobs, the newest first.",
  arguments: null,
  returns: array(jobInfoType),
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core) {
    return core.jobs.all().map(jobInfo);
  },
});
