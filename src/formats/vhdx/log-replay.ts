/** Replaying the log: into the file, or over it in memory where the file must not be written. */
import { BlockError } from "../../base/error.js";
import { alignUp } from "../../base/int.js";
import { flush, truncate, writeGrow, writeZeroes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { randomGuid } from "../../codec/guid.js";
import type { HeaderFields, Headers } from "./headers.js";
import { HEADER_SECTION_BYTES, MiB, REGION_OFFSETS } from "./layout.js";
import { changesOf, type Change } from "./log-entry.js";
import { logOverlay, Overlay } from "./log-overlay.js";
import { readLog, type FoundEntry } from "./log-search.js";

/** A log may say that the file was growing, but not by more than this. */
const MAX_GROWTH: number = 1024 * MiB;

/** The changes of all entries in order, each checked against the file. Returns the size the file must have. */
function* eachChange(
  file: Node,
  header: Readonly<HeaderFields>,
  entries: readonly FoundEntry[],
  apply: (change: Change) => Op<void>,
): Op<number> {
  let size = file.size;
  for (const { header: entry } of entries) {
    if (entry.flushedSize > file.size) {
      throw new BlockError(
        "ERR_CORRUPT",
        `The VHDX was ${entry.flushedSize} bytes long when its log was written and has ${file.size} now: it was truncated`,
      );
    }
    if (entry.lastSize < HEADER_SECTION_BYTES || entry.lastSize > Math.max(file.size, entry.flushedSize) + MAX_GROWTH) {
      throw new BlockError("ERR_CORRUPT", `The VHDX log says the file has ${entry.lastSize} bytes, but it has ${file.size}`);
    }
    size = Math.max(size, entry.lastSize);
  }
  for (const found of entries) {
    const bytes = yield* readLog(file, header, found.at, found.header.length);
    for (const change of changesOf(bytes, found.header)) {
      const end = change.offset + (change.kind === "data" ? change.bytes.length : change.length);
      const inLog = change.offset < header.logOffset + header.logLength && end > header.logOffset;
      if (change.offset < REGION_OFFSETS[0] || inLog || end > alignUp(size, MiB)) {
        throw new BlockError(
          "ERR_CORRUPT",
          `The VHDX log is corrupt: it changes bytes ${change.offset} to ${end}, where there is nothing of its business`,
        );
      }
      yield* apply(change);
    }
  }
  return size;
}

/** Replays into the file and empties the log. */
export function* replayIntoFile(node: Node, headers: Headers, entries: readonly FoundEntry[]): Op<void> {
  const file = node.file;
  // Nothing is written before all of it was found to be sound.
  yield* eachChange(file, headers.fields, entries, nothing);
  yield* headers.update({ fileWriteGuid: randomGuid(), dataWriteGuid: randomGuid() });
  const size = yield* eachChange(file, headers.fields, entries, function* (change) {
    if (change.kind === "data") {
      yield* writeGrow(file, change.bytes, change.offset);
      return;
    }
    // Behind the end of the file zeros come by themselves.
    const inside = Math.min(change.length, file.size - change.offset);
    if (inside > 0) yield* writeZeroes(file, change.offset, inside);
  });
  if (file.size < size) yield* truncate(file, alignUp(size, MiB), { preallocation: "off" });
  yield* flush(file);
  yield* headers.update({ logGuid: new Uint8Array(16) });
}

// eslint-disable-next-line require-yield
function* nothing(): Op<void> {}

/** A node that shows the file as it will be when the log has been replayed; null when that takes too much memory. */
export function* replayInMemory(node: Node, headers: Headers, entries: readonly FoundEntry[]): Op<Node | null> {
  const overlay = new Overlay();
  // eslint-disable-next-line require-yield
  const size = yield* eachChange(node.file, headers.fields, entries, function* (change) {
    overlay.add(change);
  });
  return overlay.isTooLarge ? null : logOverlay(node, overlay, size);
}
