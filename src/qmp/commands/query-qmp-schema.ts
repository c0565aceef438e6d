/** Introspection. */
import { describeSchema } from "../../qapi/schema-info.js";
import { any, array } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { EVENTS } from "../schema/events.js";

export const queryQmpSchema: Command = command({
  name: "query-qmp-schema",
  since: "2.5",
  summary: "Every command, event and type, for programs.",
  arguments: null,
  returns: array(any()),
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core) {
    return describeSchema(core.commands(), EVENTS);
  },
});
