/** Persistent dirty bitmaps on their way from one image to another. */
import { BlockError, prefixError } from "../base/error.js";
import { addBitmap, mergeBitmaps, removeBitmap, type NamedBitmap } from "../block/named-bitmap.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";

function hasStore(node: Node): boolean {
  const impl = node.impl;
  return impl.shape === "mapped" && impl.bitmaps?.supported === true;
}

const persistent = (node: Node): NamedBitmap[] => node.bitmaps.filter((bitmap) => bitmap.persistent);

/** Refuses bitmaps that were not stored properly, unless they are to be left out. */
export function checkBitmaps(source: Node, skipBroken: boolean): void {
  if (!hasStore(source)) throw new BlockError("ERR_UNSUPPORTED", "Source lacks bitmap support");
  for (const bitmap of persistent(source)) {
    if (!bitmap.inconsistent || skipBroken) continue;
    throw new BlockError("ERR_CORRUPT", `Cannot copy inconsistent bitmap '${bitmap.name}'`, {
      hint: "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it",
    });
  }
}

/** Copies all bitmaps of `source` that are in order; `warn` hears about the others. */
export function* copyBitmaps(source: Node, target: Node, warn: (message: string) => void): Op<void> {
  if (!hasStore(source)) throw new BlockError("ERR_UNSUPPORTED", "Source lacks bitmap support");
  for (const bitmap of persistent(source)) {
    const { name, granularity } = bitmap;
    if (bitmap.inconsistent) {
      warn(`Skipping inconsistent bitmap '${name}'`);
      continue;
    }
    try {
      addBitmap(target, { name, granularity, persistent: true, disabled: !bitmap.enabled });
    } catch (error) {
      throw prefixError(`Failed to create bitmap ${name}: `, error);
    }
    try {
      yield* mergeBitmaps(target, name, [{ node: source, name }]);
    } catch (error) {
      yield* removeBitmap(target, name);
      throw prefixError(`Failed to populate bitmap ${name}: `, error);
    }
  }
}
