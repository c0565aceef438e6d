/** What a check has found so far, and how findings are told to the caller. */
import type { CheckOptions, CheckProblem } from "../../block/types.js";
import { BlockError } from "../../base/error.js";
import type { Qcow2 } from "./image.js";

export class CheckState {
  readonly image: Qcow2;
  readonly options: CheckOptions;
  /** Contradictions in tables, by what repairs them. */
  readonly corruptions = {
    /** In L1, L2, bitmap and snapshot table entries: no repair. */
    entries: 0,
    /** Incomplete snapshot table entries: rewritten. */
    snapshots: 0,
    /** Refcount blocks that are misplaced or shared: rebuilt. */
    blocks: 0,
    /** Refcounts that are too low: raised, or rebuilt. */
    refcounts: 0,
    /** COPIED flags. */
    copied: 0,
  };
  leaks = 0;
  /** The check itself could not be done in full. */
  errors = 0;
  corruptionsFixed = 0;
  leaksFixed = 0;
  /** The refcount structures cannot be mended where they are. */
  rebuild = false;
  /** Findings are neither counted nor told: a pass is done again. */
  quiet = false;
  /** Findings are counted, but they were told before: the image is looked at anew after a rebuild. */
  muted = false;
  /** Entries (among `corruptions.entries`) that a repair turns into plain zeros. */
  zeroable = 0;
  /** Entries of bitmap tables (among `corruptions.entries`) whose bits a repair sets. */
  settable = 0;
  /** Errors (among `errors`) that go away when the refcount structures are rebuilt. */
  unreadableBlocks = 0;

  constructor(image: Qcow2, options: CheckOptions) {
    this.image = image;
    this.options = options;
  }

  get totalCorruptions(): number {
    const { entries, snapshots, blocks, refcounts, copied } = this.corruptions;
    return entries + snapshots + blocks + refcounts + copied;
  }

  corruption(kind: keyof CheckState["corruptions"], text: string, offset?: number): void {
    if (this.quiet) return;
    this.corruptions[kind]++;
    this.tell("corruption", text, offset);
  }
  error(text: string, offset?: number): void {
    if (this.quiet) return;
    this.errors++;
    this.tell("error", text, offset);
  }
  leak(text: string, offset?: number): void {
    if (this.quiet) return;
    this.leaks++;
    this.tell("leak", text, offset);
  }
  repair(text: string, offset?: number): void {
    this.tell("repair", text, offset);
  }
  tell(severity: CheckProblem["severity"], text: string, offset?: number): void {
    if (!this.muted || severity === "repair")
      this.options.report({ severity, text, ...(offset === undefined ? {} : { offset }) });
  }
  /** For what makes going on pointless. */
  fail(text: string, offset?: number): BlockError {
    return new BlockError("ERR_CORRUPT", text, {
      errno: "EINVAL",
      node: this.image.node.nodeName,
      ...(offset === undefined ? {} : { offset }),
    });
  }
}

/** A 64-bit field as `%lx` prints it. */
export function hex64(hi: number, lo: number): string {
  return hi === 0 ? (lo >>> 0).toString(16) : (hi >>> 0).toString(16) + (lo >>> 0).toString(16).padStart(8, "0");
}
export const hex = (value: number): string => value.toString(16);
