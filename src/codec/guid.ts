/**
 * UUIDs as 16 bytes and as text. Two byte orders are on disks: the one of RFC 9562 (all fields big-endian) and the mixed
 * one of Microsoft's GUIDs (the first three fields little-endian; GPT, VHDX, VDI).
 */
import { BlockError } from "../base/error.js";
import { toHex } from "../base/bytes.js";

/** Byte order of a mixed-endian GUID; its own inverse. */
const MIXED = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

const swap = (bytes: Uint8Array): Uint8Array => Uint8Array.from(MIXED, (from) => bytes[from]!);

/** 16 bytes in RFC 9562 order as lower-case text with hyphens. */
export function uuidToText(bytes: Uint8Array): string {
  const hex = toHex(bytes.subarray(0, 16));
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** Text, with or without braces, to 16 bytes in RFC 9562 order; ERR_INVALID_ARGUMENT when it is not a UUID. */
export function uuidFromText(text: string): Uint8Array {
  const match = /^\{?([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})\}?$/i.exec(text);
  if (match === null) throw new BlockError("ERR_INVALID_ARGUMENT", `'${text}' is not a UUID`);
  const hex = match.slice(1).join("");
  return Uint8Array.from({ length: 16 }, (_, i) => parseInt(hex.slice(i * 2, i * 2 + 2), 16));
}

/** A GUID as it lies on disk in mixed byte order, as text. */
export function guidToText(bytes: Uint8Array): string {
  return uuidToText(swap(bytes));
}

/** Text to the mixed byte order of GUIDs on disk. */
export function guidFromText(text: string): Uint8Array {
  return swap(uuidFromText(text));
}

/** A new random (version 4) UUID in RFC 9562 order. */
export function randomUuid(): Uint8Array {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes;
}

/** A new random UUID in the mixed byte order of GUIDs on disk. */
export function randomGuid(): Uint8Array {
  return swap(randomUuid());
}
