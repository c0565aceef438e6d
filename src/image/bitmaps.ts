/** Persistent dirty bitmaps on their way from one image to another. */
import { BlockError } from "../base/error.js";
import type { BitmapVerbs } from "../block/driver.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";

function bitmapsOf(node: Node): BitmapVerbs | undefined {
  const impl = node.impl;
  return impl.shape === "mapped" ? impl.bitmaps : undefined;
}

/** Refuses bitmaps that were not stored properly, unless they are to be left out. */
export function checkBitmaps(source: Node, skipBroken: boolean): void {
  const verbs = bitmapsOf(source);
  if (verbs === undefined) throw new BlockError("ERR_UNSUPPORTED", "Source lacks bitmap support");
  for (const bitmap of verbs.list()) {
    if (!bitmap.flags.includes("in-use") || skipBroken) continue;
    throw new BlockError("ERR_CORRUPT", `Cannot copy inconsistent bitmap '${bitmap.name}'`, {
      hint: "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it",
    });
  }
}

/** Copies all bitmaps of `source` that are in order; `warn` hears about the others. */
export function* copyBitmaps(source: Node, target: Node, warn: (message: string) => void): Op<void> {
  const from = bitmapsOf(source);
  const to = bitmapsOf(target);
  if (from === undefined) throw new BlockError("ERR_UNSUPPORTED", "Source lacks bitmap support");
  if (to === undefined) throw new BlockError("ERR_UNSUPPORTED", `Format driver '${target.driver.name}' does not support bitmaps`);
  for (const bitmap of from.list()) {
    if (bitmap.flags.includes("in-use")) {
      warn(`Skipping inconsistent bitmap '${bitmap.name}'`);
      continue;
    }
    try {
      yield* to.add(bitmap.name, bitmap.granularity, !bitmap.flags.includes("auto"));
      const content = yield* from.read(bitmap.name);
      yield* to.merge(bitmap.name, content.bits, content.granularity);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new BlockError("ERR_IO", `Failed to populate bitmap ${bitmap.name}: ${message}`, { cause: error });
    }
  }
}
