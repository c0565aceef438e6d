/** Byte-level helpers: big- and little-endian fields, text, comparison. Nothing here allocates more than its result. */
import { fromHiLo, hi32, lo32 } from "./int.js";

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Unsigned 64-bit field as a number; Infinity when above 2^53-1 (see base/int.ts). */
export function readU64BE(view: DataView, at: number): number {
  return fromHiLo(view.getUint32(at, false), view.getUint32(at + 4, false));
}
export function readU64LE(view: DataView, at: number): number {
  return fromHiLo(view.getUint32(at + 4, true), view.getUint32(at, true));
}
export function writeU64BE(view: DataView, at: number, value: number): void {
  view.setUint32(at, hi32(value), false);
  view.setUint32(at + 4, lo32(value), false);
}
export function writeU64LE(view: DataView, at: number, value: number): void {
  view.setUint32(at + 4, hi32(value), true);
  view.setUint32(at, lo32(value), true);
}

const decoder = new TextDecoder("utf-8", { fatal: false });
const encoder = new TextEncoder();

/** UTF-8 text up to the first NUL byte (or the end). */
export function readText(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
}
/** UTF-8 text of all bytes, NULs included. */
export function decodeText(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}
export function encodeText(text: string): Uint8Array {
  return encoder.encode(text);
}

export function startsWith(bytes: Uint8Array, prefix: Uint8Array | string, at = 0): boolean {
  const want = typeof prefix === "string" ? encoder.encode(prefix) : prefix;
  if (bytes.length < at + want.length) return false;
  for (let i = 0; i < want.length; i++) if (bytes[at + i] !== want[i]) return false;
  return true;
}

/** Whether all bytes are zero; four are looked at together. */
export function isZero(bytes: Uint8Array): boolean {
  const head = Math.min(-bytes.byteOffset & 3, bytes.length);
  for (let i = 0; i < head; i++) if (bytes[i] !== 0) return false;
  if (head === bytes.length) return true;
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + head, (bytes.length - head) >>> 2);
  for (let i = 0; i < words.length; i++) if (words[i] !== 0) return false;
  for (let i = head + words.length * 4; i < bytes.length; i++) if (bytes[i] !== 0) return false;
  return true;
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
