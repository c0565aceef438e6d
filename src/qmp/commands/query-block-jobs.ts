/** Block jobs. */
import { array } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { blockJobInfo } from "../describe.js";
import { isBlockJob } from "../job-list.js";
import { blockJobInfoType } from "../schema/results.js";

export const queryBlockJobs: Command = command({
  name: "query-block-jobs",
  since: "1.1",
  summary: "Commit, stream, mirror and backup jobs.",
  arguments: null,
  returns: array(blockJobInfoType),
  // eslint-disable-next-line require-yield
  *run(core) {
    return core.jobs
      .all()
      .filter(isBlockJob)
      .map((job) => blockJobInfo(core, job));
  },
});
