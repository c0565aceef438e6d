/**
 * Writing metadata through the log (write-ahead): a sector is in the log, durably, before it is written to its place. Each
 * entry is a sequence of its own: its predecessor's sectors are in their places, durably, before it is written, and it never
 * overwrites its predecessor, so that there is a good entry at every moment.
 */
import { BlockError } from "../../base/error.js";
import { flush, writeGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { randomGuid } from "../../codec/guid.js";
import type { Headers } from "./headers.js";
import { LOG_SECTOR } from "./layout.js";
import { descriptorSectors, encodeEntry, FIRST_SECTOR_DESCRIPTORS } from "./log-entry.js";

/** A log must have room for two entries of a few sectors. */
export const MIN_LOG_BYTES: number = 16 * LOG_SECTOR;

export interface LoggedSector {
  /** Byte offset in the file, a multiple of 4 KiB. */
  offset: number;
  bytes: Uint8Array;
}

export class LogWriter {
  readonly #node: Node;
  readonly #headers: Headers;
  readonly #guid: Uint8Array = randomGuid();
  readonly #perEntry: number;
  #sequence = 1;
  /** Where the next entry goes. */
  #at = 0;
  #active = false;

  constructor(node: Node, headers: Headers) {
    this.#node = node;
    this.#headers = headers;
    // Three entries fit: the next one never reaches the last one, also where the ring begins again.
    const sectors = Math.floor(headers.fields.logLength / 3 / LOG_SECTOR);
    this.#perEntry = Math.min(FIRST_SECTOR_DESCRIPTORS, sectors - 1);
  }

  /** Writes the sectors, in order, in as many entries as it takes. What was written to the file before is durable before they are. */
  *write(sectors: readonly LoggedSector[]): Op<void> {
    const { logOffset, logLength } = this.#headers.fields;
    if (logLength < MIN_LOG_BYTES)
      throw new BlockError("ERR_CORRUPT", `The VHDX log has ${logLength} bytes, too few to be written`, { errno: "EIO" });
    const file = this.#node.file;
    for (let from = 0; from < sectors.length; from += this.#perEntry) {
      const part = sectors.slice(from, from + this.#perEntry);
      const length = (descriptorSectors(part.length) + part.length) * LOG_SECTOR;
      if (this.#at + length > logLength) this.#at = 0;
      yield* flush(file);
      const entry = encodeEntry({
        logGuid: this.#guid,
        tail: this.#at,
        sequence: this.#sequence,
        fileSize: file.size,
        sectors: part,
      });
      yield* writeGrow(file, entry, logOffset + this.#at);
      yield* flush(file);
      this.#sequence++;
      this.#at += length;
      if (!this.#active) {
        // From now on there is always a good entry with this GUID in the log.
        yield* this.#headers.update({ logGuid: this.#guid });
        this.#active = true;
      }
      for (const { offset, bytes } of part) yield* writeGrow(file, bytes, offset);
    }
  }

  /** Marks the log as empty: everything is in its place. */
  *close(): Op<void> {
    if (!this.#active) return;
    yield* flush(this.#node.file);
    yield* this.#headers.update({ logGuid: new Uint8Array(16) });
    this.#active = false;
  }
}
