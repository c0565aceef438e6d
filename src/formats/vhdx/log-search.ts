/** Finding the active sequence of a log: the entries that must be replayed. */
import { startsWith, viewOf } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { checksumOf } from "./checksum.js";
import { crc32c } from "../../codec/checksum/crc32c.js";
import type { HeaderFields } from "./headers.js";
import { isNullGuid, LOG_SECTOR, MiB } from "./layout.js";
import { ENTRY_HEADER_BYTES, parseEntryHeader, type EntryHeader } from "./log-entry.js";

/** The log is looked through this many bytes at a time. */
const STRIDE: number = 1 << 20;
/** Checksums are computed over the log this many times over, and this much more, at most: entries do not overlap. */
const PASSES = 2;
const SLACK: number = 64 << 20;

export interface FoundEntry {
  /** Offset in the log. */
  at: number;
  header: EntryHeader;
}

/** Reads from the log, which is a ring. */
export function* readLog(file: Node, header: Readonly<HeaderFields>, at: number, length: number): Op<Uint8Array> {
  const bytes = new Uint8Array(length);
  const first = Math.min(length, header.logLength - at);
  bytes.set(yield* readBytes(file, header.logOffset + at, first));
  if (first < length) bytes.set(yield* readBytes(file, header.logOffset, length - first), first);
  return bytes;
}

/** Checks what the header says of the log; whether there may be something in it. */
export function mayHaveEntries(header: Readonly<HeaderFields>): boolean {
  const { logOffset, logLength, logVersion, logGuid } = header;
  const invalid = (message: string): BlockError => new BlockError("ERR_CORRUPT", message);
  if (!Number.isSafeInteger(logOffset) || logOffset < MiB || logOffset % MiB !== 0)
    throw invalid(`The VHDX log cannot be at offset ${logOffset}`);
  if (logVersion !== 0) throw invalid(`VHDX log version ${logVersion} is not known`);
  if (isNullGuid(logGuid) || logLength === 0) return false;
  if (logLength % MiB !== 0) throw invalid(`The VHDX log cannot have ${logLength} bytes`);
  return true;
}

/** The entries to replay, oldest first; empty when the log holds none. */
export function* findActiveSequence(file: Node, header: Readonly<HeaderFields>): Op<FoundEntry[]> {
  const entries = yield* findEntries(file, header);
  if (entries.size === 0) return [];
  let best: FoundEntry[] | null = null;
  let bestSequence = 0;
  // Each entry is the last one of exactly one chain of followers, found from the back in one pass.
  const heads = chainHeads(entries, header.logLength);
  for (const entry of entries.values()) {
    const head = heads.get(entry.at)!;
    if (head.header.tail !== entry.at || head.header.sequence <= bestSequence) continue;
    best = [];
    for (let at: FoundEntry | undefined = entry; at !== undefined; at = follower(entries, at, header.logLength)) best.push(at);
    bestSequence = head.header.sequence;
  }
  if (best === null) throw new BlockError("ERR_CORRUPT", "The VHDX log has entries, but no complete sequence of them");
  return best;
}

function follower(entries: ReadonlyMap<number, FoundEntry>, entry: FoundEntry, logLength: number): FoundEntry | undefined {
  const next = entries.get((entry.at + entry.header.length) % logLength);
  return next !== undefined && next.header.sequence === entry.header.sequence + 1 ? next : undefined;
}

/** For each entry the last one of the run that begins with it. Sequence numbers ascend, so there are no circles. */
function chainHeads(entries: ReadonlyMap<number, FoundEntry>, logLength: number): Map<number, FoundEntry> {
  const heads = new Map<number, FoundEntry>();
  for (const entry of [...entries.values()].sort((a, b) => b.header.sequence - a.header.sequence)) {
    const next = follower(entries, entry, logLength);
    heads.set(entry.at, next === undefined ? entry : heads.get(next.at)!);
  }
  return heads;
}

/** All entries with a good checksum, by their place. */
function* findEntries(file: Node, header: Readonly<HeaderFields>): Op<Map<number, FoundEntry>> {
  const { logLength, logOffset, logGuid } = header;
  const candidates: FoundEntry[] = [];
  // Behind the end of the file there is nothing but zeros.
  const end = Math.min(logLength, Math.max(0, file.size - logOffset));
  for (let from = 0; from < end; from += STRIDE) {
    const part = yield* readBytes(file, logOffset + from, Math.min(STRIDE, end - from));
    for (let at = 0; at + ENTRY_HEADER_BYTES <= part.length; at += LOG_SECTOR) {
      if (!startsWith(part, "loge", at)) continue;
      const parsed = parseEntryHeader(part.subarray(at, at + ENTRY_HEADER_BYTES), logGuid, logLength);
      if (parsed !== null) candidates.push({ at: from + at, header: parsed });
    }
  }
  const found = new Map<number, FoundEntry>();
  let budget = PASSES * logLength + SLACK;
  for (const candidate of candidates) {
    budget -= candidate.header.length;
    if (budget < 0) throw new BlockError("ERR_TOO_LARGE", "The entries of the VHDX log overlap");
    if (yield* isIntact(file, header, candidate)) found.set(candidate.at, candidate);
  }
  return found;
}

function* isIntact(file: Node, header: Readonly<HeaderFields>, entry: FoundEntry): Op<boolean> {
  let crc = 0;
  let expected = 0;
  for (let from = 0; from < entry.header.length; from += STRIDE) {
    const length = Math.min(STRIDE, entry.header.length - from);
    const part = yield* readLog(file, header, (entry.at + from) % header.logLength, length);
    if (from === 0) {
      expected = viewOf(part).getUint32(4, true);
      crc = checksumOf(part);
    } else {
      crc = crc32c(part, crc);
    }
  }
  return crc === expected;
}
