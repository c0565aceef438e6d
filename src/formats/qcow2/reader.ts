/**
 * A qcow2 driver that only reads: no allocation, no checks, no creation, no encryption in the bundle. For viewers in web
 * pages, where each kilobyte counts; everything else wants the driver of qcow2.ts.
 */
import { BlockError, errnoError } from "../../base/error.js";
import type { OpenContext } from "../../block/context.js";
import type { BackingLink, BlockDriverInfo, Driver, MappedImpl, Miss, SpecialExtent } from "../../block/driver.js";
import type { ExtentList } from "../../block/extent.js";
import { readBytes } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { EXTENT_STRIDE } from "../../kernel/layout.js";
import { createMapKernel } from "../../kernel/map-kernel.js";
import { RegionPlan } from "../../kernel/memory.js";
import { TableCache } from "../shared/table-cache.js";
import { isQcow2 } from "./header.js";
import { CryptMethod } from "./layout.js";
import { loadMiss, mapRange, SCAN_RECORDS } from "./map.js";
import { readCompressed } from "./read-compressed.js";
import { checkTables, openData, readHeader } from "./open.js";
import { CACHE_OPTIONS, takeCacheSizes } from "./options.js";
import { Qcow2View } from "./view.js";

class Qcow2Reader implements MappedImpl {
  readonly shape = "mapped";
  constructor(readonly image: Qcow2View) {}

  get size(): number {
    return this.image.size;
  }
  get allocationUnit(): number {
    return this.image.clusterSize;
  }
  get backingFile(): BackingLink | null {
    const { backingFile, backingFormat } = this.image.header;
    return backingFile === null ? null : { filename: backingFile, format: backingFormat };
  }
  get recurseStatus(): boolean {
    return !this.image.hasDataFile;
  }
  map(offset: number, length: number, out: ExtentList): Miss | null {
    return mapRange(this.image, offset, length, out);
  }
  load(miss: Miss): Op<void> {
    return loadMiss(this.image, miss);
  }
  readSpecial(extent: SpecialExtent, at: number, into: Uint8Array): Op<void> {
    return readCompressed(this.image, extent, at, into);
  }
  blockInfo(): BlockDriverInfo {
    return { clusterSize: this.image.clusterSize };
  }
  *flush(): Op<void> {}
  *close(): Op<void> {}
}

function* openReader(context: OpenContext): Op<MappedImpl> {
  const { node, flags } = context;
  if (flags.write) throw errnoError("EROFS", "This driver only reads qcow2 images; use the driver 'qcow2' to write");
  const header = yield* readHeader(context);
  checkTables(header, false);
  yield* openData(context, header);
  if (header.cryptMethod !== CryptMethod.none) {
    throw new BlockError("ERR_UNSUPPORTED", "Encrypted images need the full qcow2 driver", {
      errno: "ENOTSUP",
      hint: "Pass `qcow2` instead of `qcow2Reader`.",
    });
  }
  const sizes = takeCacheSizes(context.options, header, 2 ** header.clusterBits, context.environment.memoryBudget);
  delete context.options["cache-clean-interval"];
  const plan = new RegionPlan();
  const scan = plan.add("extents", SCAN_RECORDS * EXTENT_STRIDE);
  const l2Region = plan.add("l2-cache", sizes.l2CacheSize);
  const l1 = yield* readBytes(node.file, header.l1Offset, header.l1Entries * 8);
  const image = new Qcow2View(node, header, context.environment.codecs, plan.create(createMapKernel), scan, sizes.sliceSize, l1);
  image.l2 = new TableCache(image.kernel, l2Region, sizes.sliceSize, () => node.file, {
    write: nothing,
    beforeWrite: nothing,
    makeRoom: nothing,
  });
  return new Qcow2Reader(image);
}

/** No slot is ever dirty here. */
function* nothing(): Op<void> {}

export const qcow2Reader: Driver = {
  name: "qcow2",
  category: "format",
  supportsBacking: true,
  runtimeOptions: CACHE_OPTIONS,
  probe: (head) => (isQcow2(head) ? 100 : 0),
  open: openReader,
};
