/** How large an image becomes: exact for what `convert` would write, as qemu-img measure reports it. */
import { BlockError } from "../../base/error.js";
import { alignUp, divCeil } from "../../base/int.js";
import type { Measure, MeasureContext } from "../../block/driver.js";
import { blockStatus } from "../../block/status.js";
import type { Op } from "../../block/op.js";
import { readSettings } from "./create.js";
import { encryptionOverhead } from "./encryption.js";
import { MAX_L1_BYTES } from "./layout.js";

export function* measureQcow2(context: MeasureContext): Op<Measure> {
  const settings = readSettings(context.options);
  const clusterSize = 2 ** settings.clusterBits;
  const size = alignUp(context.size, clusterSize);
  const entry = settings.extended ? 16 : 8;
  const coverage = (clusterSize / entry) * clusterSize;
  if (Math.ceil(size / coverage) * 8 > MAX_L1_BYTES) {
    throw new BlockError("ERR_TOO_LARGE", "The image size is too large (try using a larger cluster size)", { errno: "EFBIG" });
  }
  const fullyAllocated = preallocatedSize(size, settings.clusterBits, settings.refcountOrder, entry);
  let required: number;
  if (settings.preallocation === "full" || settings.preallocation === "falloc") required = size;
  // How much of the new backing file the source shares nobody knows: as if it were nothing.
  else if (settings.backingFile !== null) required = size;
  else if (context.source === null) required = 0;
  else required = yield* allocatedBytes(context, clusterSize);
  const overhead = encryptionOverhead(settings.encryption, clusterSize);
  return { required: fullyAllocated - size + required + overhead, fullyAllocated: fullyAllocated + overhead };
}

/** File size when every cluster is allocated: header, L1, L2 tables, and refcount structures that count themselves too. */
function preallocatedSize(size: number, clusterBits: number, refcountOrder: number, entry: number): number {
  const clusterSize = 2 ** clusterBits;
  const clusters = size / clusterSize;
  const l2 = alignUp(clusters, clusterSize / entry) * entry;
  const l1 = alignUp(divCeil(l2, clusterSize), clusterSize / 8) * 8;
  const meta = clusterSize + l2 + l1;
  return meta + size + refcountMetadata((meta + size) / clusterSize, clusterSize, refcountOrder);
}

/** Bytes of refcount table and blocks for `clusters` clusters and themselves. */
export function refcountMetadata(clusters: number, clusterSize: number, refcountOrder: number): number {
  const perBlock = (clusterSize * 8) / 2 ** refcountOrder;
  const blocksPerTableCluster = clusterSize / 8;
  let table = 0;
  let blocks = 0;
  let total = 0;
  let last: number;
  do {
    last = total;
    blocks = divCeil(clusters + table + blocks, perBlock);
    table = divCeil(blocks, blocksPerTableCluster);
    total = clusters + blocks + table;
  } while (total !== last);
  return (blocks + table) * clusterSize;
}

function* allocatedBytes(context: MeasureContext, clusterSize: number): Op<number> {
  const { source, size } = context;
  let required = 0;
  let at = 0;
  while (at < size) {
    const status = yield* blockStatus(source!, at, size - at);
    const end = status.start + status.length;
    if (!status.zero && status.data && status.allocated) {
      // Clusters that are touched in part count whole.
      required += alignUp(end, clusterSize) - at;
      at = alignUp(end, clusterSize);
    } else {
      at = end;
    }
    // Continue at the data that begins inside a cluster: it takes the whole cluster.
    if (at < size && at % clusterSize !== 0) {
      const next = yield* blockStatus(source!, at, Math.min(alignUp(at, clusterSize), size) - at);
      if (!next.zero && next.data && next.allocated) required += at % clusterSize;
    }
  }
  return required;
}
