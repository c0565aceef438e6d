/** Opening a VHDX: headers, log, regions, metadata, table; each checked before the next is believed. */
import { startsWith } from "../../base/bytes.js";
import { BlockError, prefixError } from "../../base/error.js";
import type { OpenContext } from "../../block/context.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { isParentGiven, refuseParent } from "../shared/parent.js";
import { Bat } from "./bat.js";
import { Headers } from "./headers.js";
import { VhdxImage, type PendingLog } from "./image.js";
import { SIGNATURE } from "./layout.js";
import { replayInMemory, replayIntoFile } from "./log-replay.js";
import { findActiveSequence, mayHaveEntries } from "./log-search.js";
import { MIN_LOG_BYTES } from "./log-writer.js";
import { readMetadata, type Metadata } from "./metadata.js";
import type { ParentLocator } from "./parent-locator.js";
import { readRegions, RegionMap } from "./regions.js";
import { surveyBlocks } from "./survey.js";

export function* openImage(context: OpenContext): Op<VhdxImage> {
  const { node, flags, environment } = context;
  if (!startsWith(yield* readBytes(node.file, 0, 8), SIGNATURE))
    throw new BlockError("ERR_NOT_THIS_FORMAT", "Image not in VHDX format");
  const headers = yield* Headers.read(node);
  let replayed = false;
  const entries = mayHaveEntries(headers.fields) ? yield* findActiveSequence(node.file, headers.fields) : [];
  const pending: PendingLog = { overlay: null, replay: () => replayIntoFile(node, headers, entries) };
  if (entries.length > 0) {
    if (flags.write) {
      yield* pending.replay();
      replayed = true;
    } else {
      pending.overlay = yield* replayInMemory(node, headers, entries);
      if (pending.overlay === null) throw needsReplay(node);
    }
  }
  const file = (): Node => pending.overlay ?? node.file;
  const map = new RegionMap();
  const { logOffset, logLength } = headers.fields;
  if (logLength > 0) map.add({ offset: logOffset, length: logLength });
  const regions = yield* readRegions(file(), map);
  const metadata = yield* readMetadata(file(), regions.metadata);
  const count = tableEntries(metadata);
  if (count > regions.bat.length / 8) {
    throw new BlockError(
      "ERR_CORRUPT",
      `The VHDX block allocation table has ${regions.bat.length} bytes, too few for ${count} entries`,
    );
  }
  const bat = new Bat({ file, ...regions.bat, count, budget: environment.memoryBudget });
  const survey = yield* surveyBlocks(bat, metadata, map, file().size, flags.check);
  const refuse = (isParentToCome = false): void => {
    if (!isParentToCome) refuseAlone(node, metadata);
    refuseSmall(bat, logLength);
  };
  const { parent } = metadata;
  if (parent === null) refuseParent(node);
  let name = parent?.names[0];
  if (parent !== null && name === undefined)
    environment.warn(
      `'${node.file.filename}' is a differencing image that names no parent: what it does not hold reads as zeros`,
    );
  // Stated by the caller, the parent is opened like any backing file.
  else if (parent !== null && !flags.noBacking && !("backing" in node.options)) name = yield* openParent(context, parent);
  // A parent that the caller states is only opened when this is done.
  if (flags.write) refuse(isParentGiven(node));
  return new VhdxImage({
    node,
    headers,
    metadata,
    bat,
    regions: map,
    survey,
    pending,
    replayed,
    refuseWrite: () => refuse(),
    backingFile: name === undefined ? null : { filename: name, format: "vhdx" },
  });
}

function needsReplay(node: Node): BlockError {
  const name = node.file.filename;
  return new BlockError(
    "ERR_READ_ONLY",
    `VHDX image file '${name}' opened read-only, but contains a log that needs to be replayed`,
    { errno: "EPERM", hint: `To replay the log, run:\nqemu-img check -r all '${name}'` },
  );
}

/** Entries of the table: payload blocks, and between them those of sector bitmaps. */
function tableEntries({ virtualSize, blockSize, chunkRatio, parent }: Metadata): number {
  const blocks = Math.ceil(virtualSize / blockSize);
  if (parent !== null) return Math.ceil(blocks / chunkRatio) * (chunkRatio + 1);
  return blocks === 0 ? 0 : blocks + Math.floor((blocks - 1) / chunkRatio);
}

/** Without its parent the sectors that are not here cannot be told from zeros. */
function refuseAlone(node: Node, metadata: Metadata): void {
  if (metadata.parent === null || node.backing !== null || node.flags.noBacking) return;
  throw new BlockError("ERR_READ_ONLY", "A differencing VHDX image without its parent can only be opened read-only", {
    errno: "ENOTSUP",
    node: node.nodeName,
  });
}

function refuseSmall(bat: Bat, logLength: number): void {
  if (bat.isWritable && logLength >= MIN_LOG_BYTES) return;
  throw new BlockError(
    "ERR_CORRUPT",
    "The log or the block allocation table of the VHDX is too small to be written; it can only be opened read-only",
  );
}

/** Attaches the parent as the backing child, through the gate; returns the name it was found under. */
function* openParent(context: OpenContext, parent: ParentLocator): Op<string> {
  let failure: unknown;
  for (const filename of parent.names) {
    try {
      const child = yield* context.openReference(
        "backing",
        "backing",
        { kind: "parent", filename, format: "vhdx" },
        { write: false, unmap: false, check: false },
      );
      const { impl } = child.node;
      if (impl instanceof VhdxImage && parent.linkages.length > 0 && !parent.linkages.includes(impl.dataWriteGuid)) {
        throw new BlockError(
          "ERR_CORRUPT",
          `'${filename}' is not the parent this image was made from, or it was changed since: its data write GUID is ${impl.dataWriteGuid}, not ${parent.linkages[0]}`,
        );
      }
      return filename;
    } catch (error) {
      failure ??= error;
      if (!(error instanceof BlockError) || error.code !== "ERR_NOT_FOUND") break;
    }
  }
  throw prefixError("Could not open parent file: ", failure);
}
