/** What qemu-img info prints of a qcow2 image beside the common members. */
import type { ImageInfoSpecific } from "../../block/types.js";
import { encryptionInfo, type Encryption } from "./encryption.js";
import type { Qcow2 } from "./image.js";
import { Autoclear, Compatible, Incompatible } from "./layout.js";

export function specificInfo(image: Qcow2, encryption: Encryption | null): ImageInfoSpecific {
  const { header } = image;
  const data: Record<string, unknown> = { compat: header.version === 2 ? "0.10" : "1.1" };
  data["compression-type"] = header.compressionType;
  if (header.version >= 3) {
    data["lazy-refcounts"] = (header.compatible.lo & Compatible.lazyRefcounts) !== 0;
    data["corrupt"] = (header.incompatible.lo & Incompatible.corrupt) !== 0;
    data["extended-l2"] = image.extended;
  }
  data["refcount-bits"] = 2 ** header.refcountOrder;
  if (image.hasDataFile) {
    if (header.dataFile !== null) data["data-file"] = header.dataFile;
    data["data-file-raw"] = (header.autoclear.lo & Autoclear.rawDataFile) !== 0;
  }
  const bitmaps = image.bitmaps?.list() ?? [];
  if (bitmaps.length > 0) data["bitmaps"] = bitmaps;
  if (encryption !== null) data["encrypt"] = encryptionInfo(encryption);
  return { type: "qcow2", data };
}
