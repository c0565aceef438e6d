/** Several actions as one, and the commands that are one action. */
import { BlockError } from "../../base/error.js";
import { array, enumeration, optional, struct, union, type AnySchema } from "../../qapi/schema.js";
import type { Action } from "../action.js";
import { runActions } from "../action.js";
import { ACTIONS } from "../actions.js";
import { command, type Command } from "../command.js";

const kinds = enumeration(
  "TransactionActionKind",
  ACTIONS.map(({ type }) => type),
);
const actionType = union(
  "TransactionAction",
  { type: kinds },
  "type",
  Object.fromEntries(ACTIONS.map((each) => [each.type, struct(`${each.type}-wrapper`, { data: each.data })])),
);

export const transaction: Command = command({
  name: "transaction",
  since: "1.1",
  summary: "Runs actions as one: all or none. `completion-mode: grouped` makes their jobs one, too.",
  arguments: struct("transaction-arg", {
    actions: array(actionType as AnySchema),
    properties: optional(
      struct("TransactionProperties", {
        "completion-mode": optional(enumeration("ActionCompletionMode", ["individual", "grouped"])),
      }),
    ),
  }),
  returns: null,
  *run(core, args) {
    const grouped = args.properties?.["completion-mode"] === "grouped";
    const list = (args.actions as { type: string; data: object }[]).map(({ type, data }) => {
      const found = ACTIONS.find((each) => each.type === type);
      if (found === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", `Parameter 'type' does not accept value '${type}'`);
      if (grouped && !GROUPED.has(type))
        throw new BlockError(
          "ERR_UNSUPPORTED",
          `Action '${type}' does not support Transaction property completion-mode = grouped`,
        );
      return { action: found, data };
    });
    yield* runActions(core, list, grouped);
  },
});
/** Actions that know what it means that jobs belong together. */
const GROUPED: ReadonlySet<string> = new Set(["abort", "blockdev-backup", "drive-backup"]);

const SINCE: Record<string, [since: string, summary: string]> = {
  "block-dirty-bitmap-add": ["2.4", "Makes a dirty bitmap that follows writes to a node."],
  "block-dirty-bitmap-remove": ["2.4", "Removes a dirty bitmap, from the image too."],
  "block-dirty-bitmap-clear": ["2.4", "Makes a dirty bitmap clean."],
  "block-dirty-bitmap-enable": ["4.0", "Lets a dirty bitmap follow writes."],
  "block-dirty-bitmap-disable": ["4.0", "Lets a dirty bitmap follow writes no longer."],
  "block-dirty-bitmap-merge": ["4.0", "Adds dirty bitmaps to another one."],
  "blockdev-backup": ["2.3", "Starts a job that copies a node as it is now into another one."],
  "drive-backup": ["1.6", "Starts a job that copies a node as it is now into a file."],
  "blockdev-snapshot": ["2.5", "Puts a node on top of another one."],
  "blockdev-snapshot-sync": ["0.14", "Makes an overlay image and puts it on top of a node."],
  "blockdev-snapshot-internal-sync": ["1.7", "Takes a snapshot inside an image."],
};

/** Commands that are a transaction of one action. */
export const SINGLE_ACTIONS: readonly Command[] = ACTIONS.filter(({ type }) => type !== "abort").map((each: Action): Command => ({
  name: each.type,
  since: SINCE[each.type]![0],
  summary: SINCE[each.type]![1],
  arguments: each.data,
  returns: null,
  run: (core, data) => runActions(core, [{ action: each, data }]),
}));
