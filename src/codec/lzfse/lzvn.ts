/** LZVN, the light half of LZFSE: byte-aligned opcodes with literals and matches of the last 64 KiB. */
import { corruptStream } from "../codec.js";

const cut = (): Error => corruptStream("lzfse", "the stream is cut off");

/** Decodes from[at..end) behind into[0..out) until the end mark; returns the new end, which is at most `stop`. */
export function decodeLzvn(from: Uint8Array, at: number, end: number, into: Uint8Array, out: number, stop: number): number {
  let distance = 0;
  for (;;) {
    if (at >= end) throw cut();
    const op = from[at]!;
    let literals = 0;
    let match = 0;
    let size = 1;
    if (op >= 0xf0) {
      // The distance before, again: 1111MMMM, or 11110000 and a byte.
      if (op === 0xf0) {
        size = 2;
        match = (from[at + 1] ?? 0) + 16;
      } else match = op & 15;
    } else if (op >= 0xe0) {
      // Literals only: 1110LLLL, or 11100000 and a byte.
      if (op === 0xe0) {
        size = 2;
        literals = (from[at + 1] ?? 0) + 16;
      } else literals = op & 15;
    } else if (op >= 0xa0 && op < 0xc0) {
      // 101LLMMM DDDDDDMM DDDDDDDD
      size = 3;
      if (at + 3 > end) throw cut();
      const rest = from[at + 1]! | (from[at + 2]! << 8);
      literals = (op >> 3) & 3;
      match = (((op & 7) << 2) | (rest & 3)) + 3;
      distance = rest >> 2;
    } else if ((op >= 0x70 && op < 0x80) || (op >= 0xd0 && op < 0xe0)) throw corruptStream("lzfse", "an opcode is not defined");
    else {
      // LLMMMDDD: a short, a repeated or a long distance; four of the repeated ones mean something else.
      const kind = op & 7;
      literals = op >> 6;
      match = ((op >> 3) & 7) + 3;
      if (kind === 6 && literals === 0) {
        if (op === 0x06) {
          if (at + 8 > end) throw cut();
          return out;
        }
        if (op !== 0x0e && op !== 0x16) throw corruptStream("lzfse", "an opcode is not defined");
        at++;
        continue;
      }
      if (kind === 7) {
        size = 3;
        if (at + 3 > end) throw cut();
        distance = from[at + 1]! | (from[at + 2]! << 8);
      } else if (kind !== 6) {
        size = 2;
        if (at + 2 > end) throw cut();
        distance = (kind << 8) | from[at + 1]!;
      }
    }
    at += size;
    if (at + literals > end) throw cut();
    if (literals + match > stop - out) throw corruptStream("lzfse", "more bytes than expected");
    for (let i = 0; i < literals; i++) into[out++] = from[at++]!;
    if (match === 0) continue;
    if (distance === 0 || distance > out) throw corruptStream("lzfse", "a match reaches before the beginning");
    for (const last = out + match; out < last; out++) into[out] = into[out - distance]!;
  }
}
