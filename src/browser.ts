/** `blockcore/browser`: every format, for a web page's main thread (asynchronous sources) or a worker. */
export * from "./library/web-entry.js";
