/** Preallocation modes as users name them. */
import { BlockError } from "../base/error.js";
import type { Preallocation } from "../storage/storage.js";

const MODES: readonly string[] = ["off", "metadata", "falloc", "full"];

export function parsePreallocation(text: string): Preallocation {
  if (MODES.includes(text)) return text as Preallocation;
  throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid preallocation mode '${text}'`);
}
