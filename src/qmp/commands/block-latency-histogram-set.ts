/** Histograms of how long requests of a guest device take. */
import { BlockError } from "../../base/error.js";
import type { Accounting } from "../../block/accounting.js";
import { array, optional, str, struct, uint64 } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";

const boundaries = optional(array(uint64()));
type Kind = "read" | "write" | "flush";
const KINDS: readonly Kind[] = ["read", "write", "flush"];

export const blockLatencyHistogramSet: Command = command({
  name: "block-latency-histogram-set",
  since: "4.0",
  summary:
    "Keeps histograms of the latencies of a guest device (ns); those that are there begin anew, and with no boundaries they end.",
  arguments: struct("block-latency-histogram-set-arg", {
    id: str(),
    boundaries,
    "boundaries-read": boundaries,
    "boundaries-write": boundaries,
    "boundaries-flush": boundaries,
  }),
  returns: null,
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core, args) {
    const { accounting } = core.devices.pick(undefined, args.id);
    const own = KINDS.map((kind) => args[`boundaries-${kind}`]);
    if (args.boundaries === undefined && own.every((list) => list === undefined)) {
      for (const kind of KINDS) accounting.setHistogram(kind, null);
      return;
    }
    KINDS.forEach((kind, i) => {
      const list = own[i] ?? args.boundaries;
      if (list !== undefined) set(accounting, kind, list.map(Number), args.id);
    });
  },
});

function set(accounting: Accounting, kind: Kind, list: readonly number[], id: string): void {
  try {
    accounting.setHistogram(kind, list);
  } catch (error) {
    throw new BlockError("ERR_INVALID_ARGUMENT", `Device '${id}' set ${kind} boundaries fail`, { cause: error });
  }
}
