/** `info block`: drives, or nodes. */
import type { ImageInfo } from "../../../block/types.js";
import { infoLines } from "../../../image/info-text.js";
import { flag, maybe, word, type HmpCommand, type HmpOutput } from "../command.js";

/** The members of BlockDeviceInfo that are shown. */
interface Inserted {
  file: string;
  drv: string;
  ro: boolean;
  encrypted: boolean;
  "node-name"?: string;
  cache: { writeback: boolean; direct: boolean; "no-flush": boolean };
  backing_file?: string;
  backing_file_depth: number;
  detect_zeroes: string;
  image: ImageInfo & { "backing-image"?: ImageInfo };
  group?: string;
  [limit: string]: unknown;
}
/** Those of BlockInfo. */
interface Drive {
  device: string;
  qdev?: string;
  removable: boolean;
  locked: boolean;
  tray_open?: boolean;
  "io-status"?: string;
  inserted?: Inserted;
}

const LIMITS: readonly string[] = ["bps", "bps_rd", "bps_wr", "bps_max", "bps_rd_max", "bps_wr_max"];
const RATES: readonly string[] = [...LIMITS, ...LIMITS.map((name) => name.replace("bps", "iops"))];

function heading(drive: Drive | null, inserted: Inserted | undefined): string {
  const node = inserted?.["node-name"];
  if (drive !== null && drive.device !== "") return drive.device + (node === undefined || node === "" ? "" : ` (${node})`);
  return node ?? drive?.qdev ?? "<anonymous>";
}

function print(out: HmpOutput, drive: Drive | null, inserted: Inserted | undefined, verbose: boolean): void {
  let text = heading(drive, inserted);
  if (inserted === undefined) text += ": [not inserted]\n";
  else {
    const marks = `${inserted.ro ? ", read-only" : ""}${inserted.encrypted ? ", encrypted" : ""}`;
    text += `: ${inserted.file} (${inserted.drv}${marks})\n`;
  }
  if (drive !== null) {
    if (drive.qdev !== undefined) text += `    Attached to:      ${drive.qdev}\n`;
    if (drive["io-status"] !== undefined && drive["io-status"] !== "ok") text += `    I/O status:       ${drive["io-status"]}\n`;
    if (drive.removable)
      text += `    Removable device: ${drive.locked ? "" : "not "}locked, tray ${drive.tray_open === true ? "open" : "closed"}\n`;
  }
  out.print(text);
  if (inserted !== undefined) out.print(details(inserted, verbose));
}

function details(inserted: Inserted, verbose: boolean): string {
  const { cache } = inserted;
  let text = `    Cache mode:       ${cache.writeback ? "writeback" : "writethrough"}${cache.direct ? ", direct" : ""}${cache["no-flush"] ? ", ignore flushes" : ""}\n`;
  if (inserted.backing_file !== undefined)
    text += `    Backing file:     ${inserted.backing_file} (chain depth: ${inserted.backing_file_depth})\n`;
  if (inserted.detect_zeroes !== "off") text += `    Detect zeroes:    ${inserted.detect_zeroes}\n`;
  const rate = (name: string): string => `${name}=${String(inserted[name] ?? 0)}`;
  if (["bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"].some((name) => Number(inserted[name] ?? 0) !== 0))
    text += `    I/O throttling:   ${[...RATES, "iops_size"].map(rate).join(" ")} group=${inserted.group ?? ""}\n`;
  if (!verbose) return text;
  text += "\nImages:\n";
  let image: (ImageInfo & { "backing-image"?: ImageInfo }) | undefined = inserted.image;
  for (; image !== undefined; image = image["backing-image"]) text += `${infoLines(image).join("\n")}\n`;
  return text;
}

export const infoBlock: HmpCommand = {
  name: "block",
  parameters: [flag("n", "nodes"), flag("v", "verbose"), maybe(word("device"))],
  usage: "[-n] [-v] [device]",
  summary: "show info of one block device or all block devices (-n: show named nodes; -v: show details)",
  *run(core, out, args) {
    const asked = args["device"];
    const verbose = args["verbose"] === true;
    const nodes = args["nodes"] === true;
    let printed = false;
    const drives = nodes ? [] : ((yield* core.perform("query-block")) as Drive[]);
    for (const [index, drive] of drives.entries()) {
      if (asked !== undefined && asked !== drive.device) continue;
      if (index > 0) out.print("\n");
      print(out, drive, drive.inserted, verbose);
      printed = true;
    }
    if ((asked === undefined && !nodes) || printed) return;
    const named = (yield* core.perform("query-named-block-nodes")) as Inserted[];
    for (const [index, node] of named.entries()) {
      if (asked !== undefined && asked !== node["node-name"]) continue;
      if (index > 0) out.print("\n");
      print(out, null, node, verbose);
    }
  },
};
