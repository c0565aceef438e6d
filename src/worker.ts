/** `blockcore/worker`: every format, for a dedicated worker with synchronous OPFS handles: `openSync(handle)`. */
export * from "./library/web-entry.js";
