/** `info block-jobs` and `info blockstats`. */
import type { HmpCommand } from "../command.js";

interface JobLine {
  type: string;
  device: string;
  len: number;
  offset: number;
  speed: number;
}

export const infoBlockJobs: HmpCommand = {
  name: "block-jobs",
  parameters: [],
  usage: "",
  summary: "show progress of ongoing block device operations",
  *run(core, out) {
    const jobs = (yield* core.perform("query-block-jobs")) as JobLine[];
    if (jobs.length === 0) out.print("No active jobs\n");
    for (const { type, device, offset, len, speed } of jobs) {
      const what = type === "stream" ? `Streaming device ${device}` : `Type ${type}, device ${device}`;
      out.print(`${what}: Completed ${offset} of ${len} bytes, speed limit ${speed} bytes/s\n`);
    }
  },
};

/** In the order they are shown. */
const COUNTERS: readonly string[] = [
  "rd_bytes",
  "wr_bytes",
  "rd_operations",
  "wr_operations",
  "flush_operations",
  "wr_total_time_ns",
  "rd_total_time_ns",
  "flush_total_time_ns",
  "rd_merged",
  "wr_merged",
  "idle_time_ns",
];

export const infoBlockstats: HmpCommand = {
  name: "blockstats",
  parameters: [],
  usage: "",
  summary: "show block device statistics",
  *run(core, out) {
    const all = (yield* core.perform("query-blockstats")) as { device?: string; stats: Record<string, number | undefined> }[];
    for (const { device, stats } of all) {
      if (device === undefined || device === "") continue;
      out.print(`${device}: ${COUNTERS.map((name) => `${name}=${stats[name] ?? 0}`).join(" ")}\n`);
    }
  },
};
