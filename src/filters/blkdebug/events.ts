/** What blkdebug's rules can be for. */
export { BLKDEBUG_EVENTS as EVENTS } from "../../block/debug-events.js";

/** Kinds of requests a rule can be for: `BlkdebugIOType` of QAPI. */
export const IO_TYPES = ["read", "write", "write-zeroes", "discard", "flush", "block-status"] as const;
export type IoType = (typeof IO_TYPES)[number];
