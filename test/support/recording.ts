/**
 * A storage that logs what reaches it, for crash simulation: one JSON line per completed write ("w"), zeroing ("z"), discard
 * ("d"), truncate ("t") and flush ("f"), in the format of the crash oracle, between the guest's own lines ("gw", "ga", "gf",
 * "mark") that a test adds with `log`.
 */
import type { AsyncStorageFace, Storage, SyncStorageFace } from "../../src/storage/storage.js";

export type LogLine =
  | {
      op: "open";
      v: 1;
      image: string;
      format: string;
      virtual_size: number;
      backing: string | null;
      overlay?: string;
      content?: string;
    }
  | { op: "w"; o: number; n: number; b64: string }
  | { op: "w"; o: number; n: number; fill: number }
  | { op: "z" | "d"; o: number; n: number }
  /** Not in the oracle's list, which takes logs on files of fixed size: a size was set. */
  | { op: "t"; n: number }
  | { op: "f" }
  | { op: "gw"; id: number; o: number; n: number; fill: number }
  | { op: "gw"; id: number; o: number; n: number; b64: string }
  | { op: "gz" | "gd"; id: number; o: number; n: number }
  | { op: "ga"; id: number }
  | { op: "gf" }
  | { op: "mark"; s: string };

export interface RecordingStorage extends Storage {
  readonly lines: LogLine[];
  /** Adds a line of the test's own (guest requests, marks). */
  log(line: LogLine): void;
  /** All lines as JSON lines text. */
  toText(): string;
}

/** The bytes of a line that has some. */
export function bytesOf(line: { b64: string } | { n: number; fill: number }): Buffer {
  return "b64" in line ? Buffer.from(line.b64, "base64") : Buffer.alloc(line.n, line.fill);
}

function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

function writeLine(bytes: Uint8Array, offset: number): LogLine {
  const fill = bytes[0];
  if (fill !== undefined && bytes.every((byte) => byte === fill)) return { op: "w", o: offset, n: bytes.length, fill };
  return { op: "w", o: offset, n: bytes.length, b64: toBase64(bytes) };
}

export function recordingStorage(base: Storage): RecordingStorage {
  const lines: LogLine[] = [];
  const syncFace = (face: SyncStorageFace): SyncStorageFace => {
    const out: SyncStorageFace = {
      read: (into, offset) => face.read(into, offset),
      write: (from, offset) => {
        face.write(from, offset);
        if (from.length > 0) lines.push(writeLine(from, offset));
      },
      flush: () => {
        face.flush();
        lines.push({ op: "f" });
      },
      size: () => face.size(),
      truncate: (size) => {
        face.truncate(size);
        lines.push({ op: "t", n: size });
      },
      close: () => face.close(),
    };
    if (face.writeZeroes)
      out.writeZeroes = (o, n, flags) => {
        face.writeZeroes!(o, n, flags);
        lines.push({ op: "z", o, n });
      };
    if (face.discard)
      out.discard = (o, n) => {
        face.discard!(o, n);
        lines.push({ op: "d", o, n });
      };
    if (face.allocate) out.allocate = (o, n) => face.allocate!(o, n);
    if (face.extents) out.extents = (o, n) => face.extents!(o, n);
    if (face.allocatedSize) out.allocatedSize = () => face.allocatedSize!();
    return out;
  };
  const asyncFace = (face: AsyncStorageFace): AsyncStorageFace => {
    const out: AsyncStorageFace = {
      read: (into, offset) => face.read(into, offset),
      write: async (from, offset) => {
        const line = from.length > 0 ? writeLine(from, offset) : null;
        await face.write(from, offset);
        if (line !== null) lines.push(line);
      },
      flush: async () => {
        // It makes durable what was complete before it began: writes that complete meanwhile must come after it.
        const at = lines.length;
        await face.flush();
        lines.splice(at, 0, { op: "f" });
      },
      size: () => face.size(),
      truncate: async (size) => {
        await face.truncate(size);
        lines.push({ op: "t", n: size });
      },
      close: () => face.close(),
    };
    if (face.writeZeroes)
      out.writeZeroes = async (o, n, flags) => {
        await face.writeZeroes!(o, n, flags);
        lines.push({ op: "z", o, n });
      };
    if (face.discard)
      out.discard = async (o, n) => {
        await face.discard!(o, n);
        lines.push({ op: "d", o, n });
      };
    if (face.allocate) out.allocate = (o, n) => face.allocate!(o, n);
    if (face.extents) out.extents = (o, n) => face.extents!(o, n);
    if (face.allocatedSize) out.allocatedSize = () => face.allocatedSize!();
    return out;
  };
  const { kind, name, readOnly, alignment, fixedSize } = base;
  return {
    kind,
    name,
    readOnly,
    alignment,
    fixedSize,
    lines,
    sync: base.sync === null ? null : syncFace(base.sync),
    async: base.async === null ? null : asyncFace(base.async),
    log: (line) => void lines.push(line),
    toText: () => lines.map((line) => `${JSON.stringify(line)}\n`).join(""),
  };
}
