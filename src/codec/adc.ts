/** Apple Data Compression (DMG "UDCO"): runs of literals and matches of up to 67 bytes within the last 64 KiB. */
import { corruptStream, type CodecProvider, type DecompressSync } from "./codec.js";

const tooLong = (): Error => corruptStream("adc", "more bytes than expected");
const cut = (): Error => corruptStream("adc", "the stream is cut off");

export const decompressAdc: DecompressSync = (from, into) => {
  let at = 0;
  let out = 0;
  while (out < into.length) {
    if (at >= from.length) throw cut();
    const head = from[at++]!;
    if ((head & 0x80) !== 0) {
      const length = (head & 0x7f) + 1;
      if (at + length > from.length) throw cut();
      if (length > into.length - out) throw tooLong();
      into.set(from.subarray(at, at + length), out);
      at += length;
      out += length;
      continue;
    }
    const long = (head & 0x40) !== 0;
    if (at + (long ? 2 : 1) > from.length) throw cut();
    const length = long ? (head & 0x3f) + 4 : (head >> 2) + 3;
    const distance = 1 + (long ? (from[at]! << 8) | from[at + 1]! : ((head & 3) << 8) | from[at]!);
    at += long ? 2 : 1;
    if (distance > out) throw corruptStream("adc", "a match reaches before the beginning");
    if (length > into.length - out) throw tooLong();
    for (const stop = out + length; out < stop; out++) into[out] = into[out - distance]!;
  }
};

export const adcDecoder: CodecProvider = {
  name: "adc",
  decompressor: { name: "adc", sync: decompressAdc, async: async (from, into) => decompressAdc(from, into) },
};
