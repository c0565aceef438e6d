/** The two headers of a VHDX: the one with the higher sequence number counts, the other is written next. */
import { equalBytes, readU64LE, startsWith, viewOf, writeU64LE } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { flush, readBytes, writeGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { hasValidChecksum, setChecksum } from "./checksum.js";
import { HEADER_BYTES, HEADER_OFFSETS } from "./layout.js";

export interface HeaderFields {
  sequence: number;
  /** New with each session that writes anything. */
  fileWriteGuid: Uint8Array;
  /** New with each session that changes what a guest sees; children name it. */
  dataWriteGuid: Uint8Array;
  /** Entries of the log carry it; all zeros: the log is empty. */
  logGuid: Uint8Array;
  logVersion: number;
  logLength: number;
  logOffset: number;
}

export function parseHeader(bytes: Uint8Array): HeaderFields | null {
  const view = viewOf(bytes);
  if (!startsWith(bytes, "head") || !hasValidChecksum(bytes) || view.getUint16(66, true) !== 1) return null;
  return {
    sequence: readU64LE(view, 8),
    fileWriteGuid: bytes.slice(16, 32),
    dataWriteGuid: bytes.slice(32, 48),
    logGuid: bytes.slice(48, 64),
    logVersion: view.getUint16(64, true),
    logLength: view.getUint32(68, true),
    logOffset: readU64LE(view, 72),
  };
}

export function encodeHeader(header: HeaderFields): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = viewOf(bytes);
  for (let i = 0; i < 4; i++) bytes[i] = "head".charCodeAt(i);
  writeU64LE(view, 8, header.sequence);
  bytes.set(header.fileWriteGuid, 16);
  bytes.set(header.dataWriteGuid, 32);
  bytes.set(header.logGuid, 48);
  view.setUint16(64, header.logVersion, true);
  view.setUint16(66, 1, true);
  view.setUint32(68, header.logLength, true);
  writeU64LE(view, 72, header.logOffset);
  setChecksum(bytes);
  return bytes;
}

export class Headers {
  #fields: HeaderFields;
  /** Which of the two it was read from. */
  #current: 0 | 1;
  readonly #node: Node;

  private constructor(node: Node, fields: HeaderFields, current: 0 | 1) {
    this.#node = node;
    this.#fields = fields;
    this.#current = current;
  }

  static *read(node: Node): Op<Headers> {
    const first = yield* readBytes(node.file, HEADER_OFFSETS[0], HEADER_BYTES);
    const second = yield* readBytes(node.file, HEADER_OFFSETS[1], HEADER_BYTES);
    const [a, b] = [parseHeader(first), parseHeader(second)];
    if (a !== null && b !== null) {
      // Disk2VHD writes the same header twice.
      const same = equalBytes(first.subarray(0, 80), second.subarray(0, 80));
      if (a.sequence > b.sequence || same) return new Headers(node, a, 0);
      if (b.sequence > a.sequence) return new Headers(node, b, 1);
    } else if (a !== null) return new Headers(node, a, 0);
    else if (b !== null) return new Headers(node, b, 1);
    throw new BlockError("ERR_CORRUPT", "No valid VHDX header found");
  }

  get fields(): Readonly<HeaderFields> {
    return this.#fields;
  }

  /** Writes both headers, one after the other, so that one of them is good at every moment. */
  *update(changes: Partial<HeaderFields>): Op<void> {
    for (let turn = 0; turn < 2; turn++) {
      const sequence = this.#fields.sequence + 1;
      if (!Number.isSafeInteger(sequence))
        throw new BlockError("ERR_CORRUPT", "The sequence number of the VHDX header is beyond 2^53");
      const next: HeaderFields = { ...this.#fields, ...changes, sequence };
      const other = this.#current === 0 ? 1 : 0;
      yield* writeGrow(this.#node.file, encodeHeader(next), HEADER_OFFSETS[other]);
      yield* flush(this.#node.file);
      this.#fields = next;
      this.#current = other;
    }
  }
}
