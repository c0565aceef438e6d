/** The dirty bitmaps of the format extension as the block layer's bitmap verbs: they can be listed and read. */
import { BlockError } from "../../base/error.js";
import type { BitmapVerbs } from "../../block/driver.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { readBitmap, type ParallelsExtension } from "./extension.js";

export function bitmapVerbs(file: Node, extension: ParallelsExtension | null, clusterBytes: number): BitmapVerbs {
  const bitmaps = extension?.bitmaps ?? [];
  // eslint-disable-next-line require-yield
  function* refuse(): Op<never> {
    throw new BlockError("ERR_UNSUPPORTED", "Cannot store or change dirty bitmaps in a Parallels image");
  }
  return {
    list: () => bitmaps.map(({ name, granularity }) => ({ name, granularity, flags: [] })),
    *read(name) {
      const bitmap = bitmaps.find((candidate) => candidate.name === name);
      if (bitmap === undefined) throw new BlockError("ERR_NOT_FOUND", `Dirty bitmap '${name}' not found`);
      return { bits: yield* readBitmap(file, bitmap, clusterBytes), granularity: bitmap.granularity };
    },
    add: refuse,
    remove: refuse,
    clear: refuse,
    setEnabled: refuse,
    rename: refuse,
    merge: refuse,
  };
}
