/** The dirty bitmaps of the format extension as bitmaps of the node: they can be listed and read. */
import { BlockError } from "../../base/error.js";
import type { BitmapStore } from "../../block/driver.js";
import { attachBitmap, NamedBitmap } from "../../block/named-bitmap.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { readBitmap, type ParallelsExtension } from "./extension.js";

/** Puts the bitmaps of an image on its node, read-only. */
export function attachBitmaps(
  node: Node,
  file: Node,
  extension: ParallelsExtension | null,
  clusterBytes: number,
  size: number,
): void {
  for (const stored of extension?.bitmaps ?? []) {
    const bitmap = new NamedBitmap(node, {
      name: stored.name,
      granularity: stored.granularity,
      enabled: false,
      persistent: true,
      size,
      *content(into) {
        into.orBytes(yield* readBitmap(file, stored, clusterBytes), 0);
      },
    });
    bitmap.readOnly = true;
    attachBitmap(bitmap);
  }
}

export function bitmapStore(extension: ParallelsExtension | null): BitmapStore {
  const refuse = (): never => {
    throw new BlockError("ERR_UNSUPPORTED", "Cannot store or change dirty bitmaps in a Parallels image");
  };
  return {
    supported: true,
    list: () => (extension?.bitmaps ?? []).map(({ name, granularity }) => ({ name, granularity, flags: [] })),
    checkNew: refuse,
    // eslint-disable-next-line require-yield
    *remove(): Op<void> {
      refuse();
    },
    rename: refuse,
  };
}
