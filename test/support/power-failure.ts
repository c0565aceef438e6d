/**
 * Power failures of images in memory: what the guest knew at each line of the log, and the medium after one. A completed flush is a
 * barrier; of what came after it any subset reached the medium, writes whole or torn at a sector.
 */
import { equalBytes } from "../../src/base/bytes.js";
import { memoryStorage, type MemoryStorage } from "../../src/storage/memory.js";
import type { Random } from "./random.js";
import { bytesOf, type LogLine } from "./recording.js";

const SECTOR = 512;
const PIECE = 65536;

const isEqual = (a: Uint8Array, b: Uint8Array, at: number, length: number): boolean =>
  Buffer.compare(a.subarray(at, at + length), b.subarray(at, at + length)) === 0;

interface GuestWrite {
  /** Position in the log when it was issued. */
  line: number;
  offset: number;
  bytes: Uint8Array;
}

/** What the guest wrote and flushed, by the place in the log where it did. */
export class Guest {
  readonly content: Uint8Array;
  readonly #writes: GuestWrite[] = [];
  readonly #stable: { line: number; content: Uint8Array }[];

  constructor(content: Uint8Array) {
    this.content = content;
    this.#stable = [{ line: 0, content: content.slice() }];
  }

  /** A write that begins now: from here on its bytes may be there. */
  writes(line: number, offset: number, bytes: Uint8Array): void {
    this.#writes.push({ line, offset, bytes });
    this.content.set(bytes, offset);
  }
  /** All that was written is durable. */
  flushed(line: number): void {
    this.#stable.push({ line, content: this.content.slice() });
  }

  /** Throws where `seen` is neither what was flushed before line `cut` nor what was written since. */
  verify(seen: Uint8Array, cut: number): void {
    const stable = this.#stable.filter(({ line }) => line <= cut).at(-1)!;
    const later = this.#writes.filter(({ line }) => line >= stable.line && line <= cut);
    for (let at = 0; at < seen.length; at += SECTOR) {
      // Most of it is as it was: not sector by sector.
      if (at % PIECE === 0) while (at < seen.length && isEqual(seen, stable.content, at, PIECE)) at += PIECE;
      if (at >= seen.length || isEqual(seen, stable.content, at, SECTOR)) continue;
      this.#verifySector(at, seen.subarray(at, at + SECTOR), stable.content.subarray(at, at + SECTOR), later);
    }
  }

  /** Sectors that guests write as disks have them are old or new as one; of other writes that share one each may be there in part. */
  #verifySector(at: number, now: Uint8Array, was: Uint8Array, later: readonly GuestWrite[]): void {
    const end = at + now.length;
    const parts = later.filter(({ offset, bytes }) => offset < end && offset + bytes.length > at);
    const isWhole = ({ offset, bytes }: GuestWrite): boolean =>
      offset % SECTOR === 0 && offset <= at && offset + bytes.length >= end;
    if (parts.some((part) => isWhole(part) && equalBytes(now, part.bytes.subarray(at - part.offset, end - part.offset)))) return;
    const mixed = !parts.every(isWhole);
    for (let i = 0; i < now.length; i++) {
      if (mixed && (now[i] === was[i] || parts.some(({ offset, bytes }) => bytes[at + i - offset] === now[i]))) continue;
      throw new Error(`the sector at ${at} is neither what was flushed (${was[i]}) nor what was written since: ${now[i]}`);
    }
  }
}

/** The medium when the power fails after `cut` lines. */
export function failPower(before: Uint8Array, lines: readonly LogLine[], cut: number, chance: Random): MemoryStorage {
  const medium = memoryStorage(before, { name: "crashed" });
  const durable = lines
    .slice(0, cut)
    .map(({ op }) => op)
    .lastIndexOf("f");
  const keep = chance.pick([0, 0.3, 0.5, 0.7, 0.9, 1]);
  for (let i = 0; i < cut; i++) {
    const isCertain = i < durable;
    if (isCertain || chance.chance(keep)) perform(medium, lines[i]!, isCertain ? null : chance);
  }
  return medium;
}

function perform({ sync }: MemoryStorage, line: LogLine, tear: Random | null): void {
  switch (line.op) {
    case "w": {
      const bytes = bytesOf(line);
      const torn = tear !== null && tear.chance(0.25);
      for (let at = 0; at < bytes.length;) {
        const next = torn ? Math.min(bytes.length, at + SECTOR - ((line.o + at) % SECTOR)) : bytes.length;
        if (!torn || tear.chance(0.5)) sync.write(bytes.subarray(at, next), line.o + at);
        at = next;
      }
      return;
    }
    case "z":
      // The growth before it may be among what was lost; this brings it about again.
      if (sync.size() < line.o + line.n) sync.truncate(line.o + line.n);
      sync.writeZeroes!(line.o, line.n, {});
      return;
    case "d": {
      const end = Math.min(line.o + line.n, sync.size());
      if (end > line.o) sync.writeZeroes!(line.o, end - line.o, {});
      return;
    }
    case "t":
      sync.truncate(line.n);
      return;
    default:
  }
}
