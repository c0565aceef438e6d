/** QAPI shapes of block-core.json that image operations return; member names as QEMU prints them. */

export interface SnapshotInfo {
  id: string;
  name: string;
  "vm-state-size": number;
  "date-sec": number;
  "date-nsec": number;
  "vm-clock-sec": number;
  "vm-clock-nsec": number;
  icount?: number;
}

export interface BitmapInfo {
  name: string;
  granularity: number;
  flags: ("in-use" | "auto")[];
}

export interface ImageInfoSpecific {
  type: string;
  data: Record<string, unknown>;
}

export interface ImageInfo {
  filename: string;
  format: string;
  "dirty-flag"?: boolean;
  "actual-size"?: number;
  "virtual-size": number;
  "cluster-size"?: number;
  encrypted?: boolean;
  compressed?: boolean;
  "backing-filename"?: string;
  "full-backing-filename"?: string;
  "backing-filename-format"?: string;
  snapshots?: SnapshotInfo[];
  "backing-image"?: ImageInfo;
  "format-specific"?: ImageInfoSpecific;
}

export interface ImageCheck {
  filename: string;
  format: string;
  "check-errors": number;
  "image-end-offset"?: number;
  corruptions?: number;
  leaks?: number;
  "corruptions-fixed"?: number;
  "leaks-fixed"?: number;
  "total-clusters"?: number;
  "allocated-clusters"?: number;
  "fragmented-clusters"?: number;
  "compressed-clusters"?: number;
}

export type CheckFix = "none" | "leaks" | "all";

/** One finding of a check; `text` is worded as qemu-img words it on stderr. */
export interface CheckProblem {
  severity: "error" | "corruption" | "leak" | "repair";
  text: string;
  offset?: number;
}

/** One thing a repair is going to do, told before anything is written. */
export interface RepairStep {
  action:
    | "lower-refcounts"
    | "raise-refcounts"
    | "rebuild-refcounts"
    | "zero-entries"
    | "set-bitmap-entries"
    | "correct-copied-flags"
    | "rewrite-snapshot-table"
    | "clear-dirty-bit"
    | "clear-corrupt-bit";
  /** Why, in words for people. */
  reason: string;
  /** Clusters, or table entries, concerned. */
  count: number;
}

export interface CheckOptions {
  fix: CheckFix;
  report: (problem: CheckProblem) => void;
  progress?: (done: number, total: number) => void;
  /** Every step of the repair, in order, before the first one is taken. */
  plan?: (step: RepairStep) => void;
  /** Only find and plan: nothing is written, the image may be read-only. */
  dryRun?: boolean;
}

export interface MapEntry {
  start: number;
  length: number;
  depth: number;
  present: boolean;
  zero: boolean;
  data: boolean;
  compressed?: boolean;
  offset?: number;
  filename?: string;
}
