/** Ends the program. */
import { foreign } from "../../block/op.js";
import { command, type Command } from "../command.js";

export const quit: Command = command({
  name: "quit",
  since: "0.14",
  summary: "Ends the program, after jobs were cancelled and images closed.",
  arguments: null,
  returns: null,
  *run(core) {
    // What ends says so in events before the answer comes.
    yield* foreign("Ending jobs and exports", null, async () => {
      core.exports.leaveSocket = true;
      const ended = core.onQuit();
      if (ended !== undefined) return await ended;
      await core.jobs.stopAll();
      await core.exports.stopAll();
    });
  },
});
