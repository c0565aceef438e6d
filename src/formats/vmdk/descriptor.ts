/** The text that describes a VMDK: identities, parent, and the extents. Parsed line by line, in time linear in its length. */
import { encodeText } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { MAX_EXTENTS } from "./layout.js";

export type ExtentAccess = "RW" | "RDONLY" | "NOACCESS";

export interface ExtentLine {
  access: ExtentAccess;
  /** Size in sectors. */
  sectors: number;
  /** "FLAT", "SPARSE", "VMFS", "VMFSSPARSE", "SESPARSE", "ZERO" … */
  type: string;
  filename: string;
  /** Of flat extents: where in the file it begins, in sectors; Infinity when it is beyond 2^53. */
  offset: number;
}

export interface Descriptor {
  /** Content ID: a new one with each session that writes. 0xffffffff when there is none. */
  cid: number;
  parentCid: number;
  createType: string | null;
  /** The parent as the image names it. */
  parentFileName: string | null;
  extents: ExtentLine[];
}

export const NO_CID = 0xffffffff;
/** Longest parent name QEMU takes. */
const MAX_PARENT_NAME = 1023;
const utf8 = new TextDecoder("utf-8");

/** One character per byte, so that places in the text are places in the file. */
function bytesToLatin1(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  const text = end < 0 ? bytes : bytes.subarray(0, end);
  let out = "";
  for (let at = 0; at < text.length; at += 8192) out += String.fromCharCode(...text.subarray(at, at + 8192));
  return out;
}
const toBytes = (latin1: string): Uint8Array => Uint8Array.from(latin1, (character) => character.charCodeAt(0));
const fromLatin1 = (text: string): string => utf8.decode(toBytes(text));

const EXTENT = /^\s*(RW|RDONLY|NOACCESS)\s+(-?\d{1,20})\s+(\S{1,20})(?:\s+"([^"]{1,511})"(?:\s+(-?\d{1,20}))?)?/;
const KEY = /^\s*([A-Za-z]+)\s*=(.*)$/;

/** `bytes`: the text, up to the first NUL. */
export function parseDescriptor(bytes: Uint8Array): Descriptor {
  const result: Descriptor = { cid: NO_CID, parentCid: NO_CID, createType: null, parentFileName: null, extents: [] };
  const text = bytesToLatin1(bytes);
  let cid: number | null = null;
  let parentCid: number | null = null;
  for (let at = 0; at < text.length;) {
    let end = text.indexOf("\n", at);
    if (end < 0) end = text.length;
    // No line that means something is as long as this.
    const line = text.slice(at, Math.min(end, at + 4096)).replace(/\r$/, "");
    at = end + 1;
    const first = line.charCodeAt(0);
    if (first === 0x23) continue;
    const extent = EXTENT.exec(line);
    if (extent !== null) {
      const parsed = parseExtent(line, extent);
      if (parsed !== null) result.extents.push(parsed);
      if (result.extents.length > MAX_EXTENTS) throw new BlockError("ERR_TOO_LARGE", `VMDK: more than ${MAX_EXTENTS} extents`);
      continue;
    }
    const pair = KEY.exec(line);
    if (pair === null) continue;
    const value = pair[2]!.trim();
    switch (pair[1]!.toLowerCase()) {
      case "cid":
        cid ??= hex(value);
        break;
      case "parentcid":
        parentCid ??= hex(value);
        break;
      case "createtype":
        result.createType ??= unquote(value, "createType", 127);
        break;
      case "parentfilenamehint":
        result.parentFileName ??= unquote(value, "parentFileNameHint", MAX_PARENT_NAME);
        break;
    }
  }
  // As in QEMU an image without CID of its own is known by that of its parent.
  if (cid === null && parentCid === null) throw new BlockError("ERR_CORRUPT", "invalid VMDK image descriptor: it has no CID");
  result.cid = cid ?? parentCid!;
  result.parentCid = parentCid ?? NO_CID;
  return result;
}

function hex(text: string): number | null {
  const match = /^(?:0[xX])?([0-9a-fA-F]{1,8})\b/.exec(text);
  return match === null ? null : parseInt(match[1]!, 16);
}

function unquote(text: string, what: string, limit: number): string {
  const end = text.indexOf('"', 1);
  if (!text.startsWith('"') || end < 0 || end - 1 > limit)
    throw new BlockError("ERR_CORRUPT", `invalid VMDK image descriptor: ${what} is not a quoted text of at most ${limit} bytes`);
  return fromLatin1(text.slice(1, end));
}

/** null: a line that is skipped, as QEMU skips it. */
function parseExtent(line: string, match: RegExpExecArray): ExtentLine | null {
  const [, access, sizeText, type, name, offsetText] = match;
  const size = Number(sizeText);
  if (size <= 0) return null;
  if (name === undefined) {
    if (type !== "ZERO") return null;
    return { access: access as ExtentAccess, sectors: safe(size), type, filename: "", offset: 0 };
  }
  const invalid = (): BlockError => new BlockError("ERR_CORRUPT", `Invalid extent line: ${fromLatin1(line)}`);
  if (type === "FLAT" ? offsetText === undefined || Number(offsetText) < 0 : offsetText !== undefined) throw invalid();
  return {
    access: access as ExtentAccess,
    sectors: safe(size),
    type: type!,
    filename: fromLatin1(name),
    offset: safe(Number(offsetText ?? 0)),
  };
}

const safe = (value: number): number => (Number.isSafeInteger(value * 512) ? value : Infinity);

/**
 * `bytes` with another content ID (or that of the parent), chosen when the number of digits of the old one is known; null when there is
 * no such line. The text keeps its length where the old ID has enough digits, so that a torn write cannot mix two texts.
 */
export function withContentId(
  bytes: Uint8Array,
  key: "CID" | "parentCID",
  choose: (digits: number) => number,
): { bytes: Uint8Array; cid: number } | null {
  const text = bytesToLatin1(bytes);
  const match = new RegExp(`(^|\\n)([ \\t]*${key}[ \\t]*=[ \\t]*(?:0[xX])?)([0-9a-fA-F]{1,8})`).exec(text);
  if (match === null) return null;
  const digits = match[3]!.length;
  const cid = choose(digits);
  const changed = `${text.slice(0, match.index)}${match[1]}${match[2]}${cid.toString(16).padStart(digits, "0")}${text.slice(match.index + match[0].length)}`;
  return { bytes: toBytes(changed), cid };
}

/** `bytes` with another parent, or none; null when there is no place for it. Where the line of the old name is long enough its length stays. */
export function withParent(bytes: Uint8Array, parent: { cid: number; filename: string } | null): Uint8Array | null {
  const named = withContentId(bytes, "parentCID", () => parent?.cid ?? NO_CID);
  if (named === null) return null;
  const text = bytesToLatin1(named.bytes);
  const line = parent === null ? "" : `parentFileNameHint="${bytesToLatin1(encodeText(parent.filename))}"`;
  const hint = /^[ \t]*parentFileNameHint[ \t]*=.*$/m;
  if (hint.test(text)) return toBytes(text.replace(hint, (old) => (line === "" ? "#" : line).padEnd(old.length)));
  if (line === "") return named.bytes;
  const place = /^[ \t]*createType[ \t]*=.*$/m;
  return place.test(text) ? toBytes(text.replace(place, (old) => `${old}\n${line}`)) : null;
}

/** A content ID of as many digits, where those are enough to tell it from others. */
export const fitCid = (cid: number, digits: number): number => (digits >= 6 ? Math.max(1, cid % 16 ** digits) : cid);

export interface NewDescriptor {
  cid: number;
  parentCid: number;
  createType: string;
  parentFileName: string | null;
  extents: readonly { sectors: number; type: "FLAT" | "SPARSE"; filename: string }[];
  hardwareVersion: string;
  adapterType: string;
  toolsVersion: string;
  /** Virtual size in bytes. */
  size: number;
}

/** A new descriptor, laid out as QEMU lays it out. */
export function formatDescriptor(made: NewDescriptor): string {
  // VMware counts 255 heads for all adapters but IDE.
  const heads = made.adapterType === "ide" ? 16 : 255;
  const lines = [
    "# Disk DescriptorFile",
    "version=1",
    `CID=${made.cid.toString(16)}`,
    `parentCID=${made.parentCid.toString(16)}`,
    `createType="${made.createType}"`,
    made.parentFileName === null ? "" : `parentFileNameHint="${made.parentFileName}"`,
    "# Extent description",
    ...made.extents.map(({ sectors, type, filename }) => `RW ${sectors} ${type} "${filename}"${type === "FLAT" ? " 0" : ""}`),
    "",
    "# The Disk Data Base",
    "#DDB",
    "",
    `ddb.virtualHWVersion = "${made.hardwareVersion}"`,
    `ddb.geometry.cylinders = "${Math.floor(made.size / (63 * heads * 512))}"`,
    `ddb.geometry.heads = "${heads}"`,
    `ddb.geometry.sectors = "63"`,
    `ddb.adapterType = "${made.adapterType}"`,
    `ddb.toolsVersion = "${made.toolsVersion}"`,
    "",
  ];
  return lines.join("\n");
}

/** A random content ID that is none of the reserved ones. */
export function newCid(): number {
  const [value] = globalThis.crypto.getRandomValues(new Uint32Array(1));
  return value! >= 0xfffffffe ? 1 : value!;
}
