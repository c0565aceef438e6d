/** Building a list of data/hole runs in order, merging neighbours of the same kind. */
import type { StorageExtent } from "../storage.js";

/** `extents` may return less than was asked for; past this many runs it does, so that no answer is unbounded. */
export const MAX_EXTENTS = 1024;

export function pushExtent(list: StorageExtent[], offset: number, length: number, data: boolean): void {
  if (length === 0) return;
  const last = list[list.length - 1];
  if (last !== undefined && last.data === data && last.offset + last.length === offset) last.length += length;
  else list.push({ offset, length, data });
}
