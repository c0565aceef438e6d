/** The first steps of opening an image, whoever opens it: the header, and what it says of tables and files, checked before anything is allocated. */
import { BlockError } from "../../base/error.js";
import { divCeil } from "../../base/int.js";
import type { OpenContext } from "../../block/context.js";
import { readBytes } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { decodeHeader, headerClusterSize, type Header } from "./header.js";
import { Autoclear, Incompatible, MAX_L1_BYTES, MAX_REFTABLE_BYTES, MAX_SNAPSHOTS, V2_HEADER_LENGTH } from "./layout.js";

/** Opens the file and reads the header from it. */
export function* readHeader(context: OpenContext): Op<Header> {
  yield* context.openChild("file", "image");
  const { file } = context.node;
  // A file that ends inside its first cluster goes on with zeros, as everywhere else.
  const whole = file.size >= V2_HEADER_LENGTH;
  const first = yield* readBytes(file, 0, whole ? 4096 : file.size);
  const clusterSize = whole ? headerClusterSize(first) : 0;
  const head = clusterSize > first.length ? yield* readBytes(file, 0, clusterSize) : first;
  return decodeHeader(clusterSize > 0 && clusterSize < head.length ? head.subarray(0, clusterSize) : head);
}

/** Opens the external data file, where the image has one. */
export function* openData(context: OpenContext, header: Header): Op<void> {
  if (header.autoclear.lo & Autoclear.rawDataFile && !(header.incompatible.lo & Incompatible.dataFile) && !context.flags.noIO) {
    throw new BlockError("ERR_CORRUPT", "data-file-raw requires a data file", { errno: "EINVAL", offset: 88 });
  }
  const given = context.options["data-file"] !== undefined;
  // What was given is opened first, as by QEMU: that it is not there is said before that it has no place.
  if (given) yield* context.openChild("data-file", "data");
  if ((header.incompatible.lo & Incompatible.dataFile) === 0) {
    if (given) throw new BlockError("ERR_INVALID_ARGUMENT", "'data-file' can only be set for images with an external data file");
  } else if (!given) yield* openDataFile(context, header);
}

/** Sizes and places of the tables, before any of them is read: no allocation follows an unchecked field. */
export function checkTables(header: Header, check: boolean): void {
  const clusterSize = 2 ** header.clusterBits;
  const bad = (message: string, offset: number): BlockError => new BlockError("ERR_CORRUPT", message, { offset });
  if (header.reftableClusters * clusterSize > MAX_REFTABLE_BYTES) throw bad("Reference count table too large", 56);
  if (header.reftableClusters === 0 && !check) throw bad("Image does not contain a reference count table", 56);
  if (header.reftableOffset % clusterSize !== 0 || !Number.isFinite(header.reftableOffset))
    throw bad("Reference count table offset invalid", 48);
  if (!check) {
    if (header.snapshotCount > MAX_SNAPSHOTS) throw new BlockError("ERR_TOO_LARGE", "Snapshot table too large", { offset: 60 });
    if (header.snapshotsOffset % clusterSize !== 0 || !Number.isFinite(header.snapshotsOffset))
      throw bad("Snapshot table offset invalid", 64);
  }
  const l1Bytes = header.l1Entries * 8;
  if (l1Bytes > MAX_L1_BYTES) throw bad("Active L1 table too large", 36);
  if (header.l1Offset % clusterSize !== 0 || !Number.isFinite(header.l1Offset)) throw bad("Active L1 table offset invalid", 40);
  const entry = header.incompatible.lo & Incompatible.extendedL2 ? 16 : 8;
  const needed = divCeil(header.size, (clusterSize / entry) * clusterSize);
  if (needed * 8 > MAX_L1_BYTES) throw new BlockError("ERR_TOO_LARGE", "Image is too big", { errno: "EFBIG", offset: 24 });
  if (header.l1Entries < needed) throw bad("L1 table is too small", 36);
  // Tables behind the end of the file read as zeros.
}

/** The one that the header names. */
function* openDataFile(context: OpenContext, header: Header): Op<void> {
  if (header.dataFile !== null && header.dataFile !== "") {
    yield* context.openReference("data-file", "data", { kind: "data-file", filename: header.dataFile, format: null });
  } else {
    throw new BlockError("ERR_INVALID_ARGUMENT", "'data-file' is required for this image");
  }
}
