/** The limits of a drive as block_set_io_throttle and query-block name them. */
import type { Throttled } from "../block/throttle.js";

export const IO_LIMITS: readonly { name: string; what: Throttled }[] = [
  { name: "bps", what: "bps-total" },
  { name: "bps_rd", what: "bps-read" },
  { name: "bps_wr", what: "bps-write" },
  { name: "iops", what: "iops-total" },
  { name: "iops_rd", what: "iops-read" },
  { name: "iops_wr", what: "iops-write" },
];
