/** Tar archives as OVA uses them: finding members in place, and headers for new ones (ustar; large sizes in base 256). */
import { decodeText, encodeText, readText } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { alignUp } from "../../base/int.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";

export const TAR_BLOCK = 512;
/** Members an archive may have. */
const MAX_MEMBERS = 10000;
/** Extended headers are read up to this size. */
const MAX_EXTENDED = 65536;

export interface TarMember {
  name: string;
  /** Byte offset of its content in the archive, and its length. */
  offset: number;
  size: number;
}

/** All regular files of the archive, in order. A size that reaches behind the end of the file is refused. */
export function* listTar(file: Node): Op<TarMember[]> {
  const members: TarMember[] = [];
  let longName: string | null = null;
  let longSize: number | null = null;
  for (let at = 0; at + TAR_BLOCK <= file.size;) {
    const header = yield* readBytes(file, at, TAR_BLOCK);
    if (header.every((byte) => byte === 0)) break;
    if (!hasValidChecksum(header))
      throw new BlockError(at === 0 ? "ERR_NOT_THIS_FORMAT" : "ERR_CORRUPT", `There is no tar header at offset ${at}`, {
        offset: at,
      });
    const type = String.fromCharCode(header[156]!);
    const size: number = longSize ?? numberField(header.subarray(124, 136));
    const offset = at + TAR_BLOCK;
    if (!Number.isSafeInteger(size) || offset + size > file.size) {
      throw new BlockError("ERR_CORRUPT", `The archive member at offset ${at} has ${size} bytes, more than the file holds`, {
        offset: at,
      });
    }
    if (members.length >= MAX_MEMBERS) throw new BlockError("ERR_TOO_LARGE", `The archive has more than ${MAX_MEMBERS} members`);
    at = offset + alignUp(size, TAR_BLOCK);
    if (type === "x" || type === "L") {
      if (size > MAX_EXTENDED) throw new BlockError("ERR_TOO_LARGE", `An extended header of the archive has ${size} bytes`);
      const bytes = yield* readBytes(file, offset, size);
      if (type === "L") longName = readText(bytes);
      else {
        const records = paxRecords(decodeText(bytes));
        longName = records.get("path") ?? longName;
        const sizeText = records.get("size");
        if (sizeText !== undefined) longSize = Number(sizeText);
      }
      continue;
    }
    if (type === "0" || type === "\0" || type === "7") members.push({ name: longName ?? memberName(header), offset, size });
    longName = null;
    longSize = null;
  }
  return members;
}

function memberName(header: Uint8Array): string {
  const name = readText(header.subarray(0, 100));
  const isUstar = readText(header.subarray(257, 262)) === "ustar";
  const prefix = isUstar && header[263] === 0x30 ? readText(header.subarray(345, 500)) : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

/** Octal digits, or base 256 where the top bit is set. Infinity beyond 2^53. */
function numberField(field: Uint8Array): number {
  if ((field[0]! & 0x80) !== 0) {
    let value = field[0]! & 0x7f;
    for (let i = 1; i < field.length; i++) value = value * 256 + field[i]!;
    return Number.isSafeInteger(value) ? value : Infinity;
  }
  const text = readText(field).trim();
  if (text === "") return 0;
  return /^[0-7]+$/.test(text) ? parseInt(text, 8) : Infinity;
}

function checksum(header: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < TAR_BLOCK; i++) sum += i >= 148 && i < 156 ? 0x20 : header[i]!;
  return sum;
}
const hasValidChecksum = (header: Uint8Array): boolean => numberField(header.subarray(148, 156)) === checksum(header);

/** "length key=value\n" records. */
function paxRecords(text: string): Map<string, string> {
  const records = new Map<string, string>();
  for (const line of text.split("\n")) {
    const match = /^\d+ ([^=]+)=(.*)$/.exec(line);
    if (match !== null) records.set(match[1]!, match[2]!);
  }
  return records;
}

/** The header of a new regular file. @param time seconds since 1970 */
export function tarHeader(name: string, size: number, time: number): Uint8Array {
  const header = new Uint8Array(TAR_BLOCK);
  const nameBytes = encodeText(name);
  if (nameBytes.length > 100)
    throw new BlockError("ERR_INVALID_ARGUMENT", `The name '${name}' is too long for an archive member`);
  const text = (at: number, value: string): void => {
    for (let i = 0; i < value.length; i++) header[at + i] = value.charCodeAt(i);
  };
  const octal = (at: number, digits: number, value: number): void => text(at, value.toString(8).padStart(digits, "0"));
  header.set(nameBytes);
  octal(100, 7, 0o644);
  octal(108, 7, 0);
  octal(116, 7, 0);
  if (size < 8 ** 11) octal(124, 11, size);
  else {
    header[124] = 0x80;
    for (let i = 0, rest = size; i < 8; i++, rest = Math.floor(rest / 256)) header[135 - i] = rest % 256;
  }
  octal(136, 11, Math.max(0, Math.floor(time)));
  text(156, "0");
  text(257, "ustar");
  text(263, "00");
  octal(148, 6, checksum(header));
  header[155] = 0x20;
  return header;
}

/** Zeros that fill a member up to the next header. */
export const tarPadding = (size: number): Uint8Array => new Uint8Array(alignUp(size, TAR_BLOCK) - size);
/** The end of an archive. */
export const tarEnd = (): Uint8Array => new Uint8Array(2 * TAR_BLOCK);
