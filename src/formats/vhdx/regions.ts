/** The region table, and which parts of the file are spoken for. */
import { equalBytes, readU64LE, startsWith, viewOf } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { guidToText } from "../../codec/guid.js";
import { hasValidChecksum } from "./checksum.js";
import { Guid, HEADER_SECTION_BYTES, KiB64, REGION_OFFSETS } from "./layout.js";

const MAX_ENTRIES = 2047;

export interface Region {
  offset: number;
  length: number;
}

/** Parts of the file that overlap nothing. */
export class RegionMap {
  readonly #taken: Region[] = [{ offset: 0, length: HEADER_SECTION_BYTES }];

  /** The first byte behind all of them. */
  get end(): number {
    return this.#taken.reduce((end, region) => Math.max(end, region.offset + region.length), 0);
  }

  /** Throws where the region touches one that is there. */
  add(region: Region): void {
    const other = this.overlap(region);
    if (other !== null) {
      throw new BlockError(
        "ERR_CORRUPT",
        `VHDX region ${region.offset}-${region.offset + region.length} overlaps with region ${other.offset}-${other.offset + other.length}`,
      );
    }
    this.#taken.push(region);
  }

  /** The region that a range touches; null: none. */
  overlap({ offset, length }: Region): Region | null {
    return this.#taken.find((other) => offset < other.offset + other.length && offset + length > other.offset) ?? null;
  }
}

export interface Regions {
  bat: Region;
  metadata: Region;
}

function* readTable(file: Node): Op<Uint8Array> {
  for (const offset of REGION_OFFSETS) {
    const bytes = yield* readBytes(file, offset, KiB64);
    if (startsWith(bytes, "regi") && hasValidChecksum(bytes) && viewOf(bytes).getUint32(8, true) <= MAX_ENTRIES) return bytes;
  }
  throw new BlockError("ERR_CORRUPT", "Neither copy of the VHDX region table is valid");
}

/** Reads the table; the regions known by name are added to `map`. */
export function* readRegions(file: Node, map: RegionMap): Op<Regions> {
  const bytes = yield* readTable(file);
  const view = viewOf(bytes);
  const count = view.getUint32(8, true);
  let bat: Region | null = null;
  let metadata: Region | null = null;
  for (let i = 0; i < count; i++) {
    const at = 16 + i * 32;
    const guid = bytes.subarray(at, at + 16);
    const region = { offset: readU64LE(view, at + 16), length: view.getUint32(at + 24, true) };
    const isBat = equalBytes(guid, Guid.bat);
    const isMetadata = equalBytes(guid, Guid.metadata);
    if ((view.getUint32(at + 28, true) & 1) !== 0 && !isBat && !isMetadata) {
      throw new BlockError("ERR_UNSUPPORTED", `The VHDX has a required region that is not known: ${guidToText(guid)}`);
    }
    if (region.length === 0 && !isBat && !isMetadata) continue;
    if (!Number.isSafeInteger(region.offset + region.length))
      throw new BlockError("ERR_CORRUPT", `VHDX region ${i} lies beyond 2^53 bytes`);
    map.add(region);
    if ((isBat && bat !== null) || (isMetadata && metadata !== null))
      throw new BlockError("ERR_CORRUPT", "The VHDX has two regions of a kind there is one of");
    if (isBat) bat = region;
    if (isMetadata) metadata = region;
  }
  if (bat === null || metadata === null)
    throw new BlockError("ERR_CORRUPT", "The VHDX has no block allocation table or no metadata region");
  return { bat, metadata };
}
