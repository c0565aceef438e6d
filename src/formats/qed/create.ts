/** New QED images: header, then an empty L1 table. */
import { BlockError } from "../../base/error.js";
import { alignUp } from "../../base/int.js";
import type { CreateContext, CreateOption } from "../../block/context.js";
import { truncate, writeGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import {
  DEFAULT_CLUSTER,
  DEFAULT_TABLE_CLUSTERS,
  encodeQedHeader,
  Feature,
  isClusterSize,
  isTableSize,
  MAX_CLUSTER,
  MAX_TABLE_CLUSTERS,
  maxImageSize,
  MIN_CLUSTER,
  type QedHeader,
} from "./header.js";

export const QED_CREATE_OPTIONS: readonly CreateOption[] = [
  { name: "size", type: "size", help: "Virtual disk size" },
  { name: "backing_file", type: "string", help: "File name of a base image" },
  { name: "backing_fmt", type: "string", help: "Image format of the base image" },
  { name: "cluster_size", type: "size", help: "Cluster size (in bytes)", default: "65536" },
  { name: "table_size", type: "size", help: "L1/L2 table size (in clusters)" },
];

const invalid = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);
const text = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);

export function* createQed(context: CreateContext): Op<void> {
  const { file, options } = context;
  if (context.size < 0) throw invalid("Image creation needs a size parameter");
  const clusterSize = (options["cluster_size"] as number | undefined) ?? DEFAULT_CLUSTER;
  const tableClusters = (options["table_size"] as number | undefined) ?? DEFAULT_TABLE_CLUSTERS;
  if (!isClusterSize(clusterSize))
    throw invalid(`QED cluster size must be within range [${MIN_CLUSTER}, ${MAX_CLUSTER}] and power of 2`);
  if (!isTableSize(tableClusters)) throw invalid(`QED table size must be within range [1, ${MAX_TABLE_CLUSTERS}] and power of 2`);
  if (tableClusters === 1) throw invalid("QED tables of one cluster are not supported: QEMU opens no image that has them");
  const size = alignUp(context.size, 512);
  const limit = maxImageSize({ clusterSize, tableClusters });
  if (!(size <= limit)) throw invalid(`QED image size must be a non-zero multiple of cluster size and less than ${limit} bytes`);
  const backingFile = text(options["backing_file"]);
  const header: QedHeader = {
    clusterSize,
    tableClusters,
    headerClusters: 1,
    features:
      backingFile === null ? 0 : Feature.backingFile | (text(options["backing_fmt"]) === "raw" ? Feature.backingNoProbe : 0),
    compatible: { hi: 0, lo: 0 },
    autoclear: { hi: 0, lo: 0 },
    l1Offset: clusterSize,
    size,
    backingFile,
  };
  const bytes = encodeQedHeader(header);
  yield* truncate(file, 0, { preallocation: "off" });
  // The table reads as zeros: nothing was there before.
  yield* truncate(file, clusterSize * (1 + tableClusters), { preallocation: "off" });
  yield* writeGrow(file, bytes, 0);
}
