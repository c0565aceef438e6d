/**
 * `json:` names. Who takes file names from users or images brings what reads and writes them along; a reader in a web page, where
 * names come to the caller as they are, goes without.
 */
import { BlockError } from "../base/error.js";
import type { JsonObject } from "../qapi/json.js";
import type { BlockdevOptions } from "./context.js";

export interface JsonNames {
  /** The options that a `json:{…}` name stands for. @throws BlockError when it is none */
  read(filename: string): BlockdevOptions;
  write(options: JsonObject): string;
}

let offered: JsonNames | null = null;

/** Called by those who make environments. */
export function offerJsonNames(names: JsonNames): void {
  offered = names;
}

export function readJsonName(filename: string): BlockdevOptions {
  if (offered === null) throw new BlockError("ERR_UNSUPPORTED", "This build does not read 'json:' names", { errno: "ENOTSUP" });
  return offered.read(filename);
}

export function writeJsonName(options: JsonObject): string {
  return `json:${offered === null ? JSON.stringify(options) : offered.write(options)}`;
}
