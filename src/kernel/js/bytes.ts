/** TypeScript twin of assembly/mem/bytes.ts: zeros, differences, byte order. */

/** `words` is the same memory as `bytes`, 32 bits at a time. */
export function findNonZero(bytes: Uint8Array, words: Uint32Array, at: number, length: number): number {
  const end = at + length;
  let p = at;
  while (p < end && (p & 3) !== 0) {
    if (bytes[p] !== 0) return p - at;
    p++;
  }
  let w = p >>> 2;
  const wordEnd = Math.max(w, Math.floor(end / 4));
  for (; w + 8 <= wordEnd; w += 8) {
    if (
      (words[w]! |
        words[w + 1]! |
        words[w + 2]! |
        words[w + 3]! |
        words[w + 4]! |
        words[w + 5]! |
        words[w + 6]! |
        words[w + 7]!) !==
      0
    )
      break;
  }
  while (w < wordEnd && words[w] === 0) w++;
  for (p = Math.max(p, w * 4); p < end; p++) if (bytes[p] !== 0) return p - at;
  return length;
}

export function zeroRun(bytes: Uint8Array, words: Uint32Array, at: number, length: number, granularity: number): number {
  const zeros = findNonZero(bytes, words, at, length);
  return zeros === length ? length : zeros - (zeros % granularity);
}

export function dataRun(bytes: Uint8Array, words: Uint32Array, at: number, length: number, granularity: number): number {
  let done = 0;
  while (done < length) {
    const piece = Math.min(granularity, length - done);
    if (findNonZero(bytes, words, at + done, piece) === piece) break;
    done += piece;
  }
  return done;
}

export function firstDifference(bytes: Uint8Array, words: Uint32Array, a: number, b: number, length: number): number {
  let i = 0;
  if (((a ^ b) & 3) === 0) {
    while (i < length && ((a + i) & 3) !== 0) {
      if (bytes[a + i] !== bytes[b + i]) return i;
      i++;
    }
    let x = (a + i) >>> 2;
    let y = (b + i) >>> 2;
    for (; i + 4 <= length && words[x] === words[y]; i += 4, x++, y++);
  }
  for (; i < length; i++) if (bytes[a + i] !== bytes[b + i]) return i;
  return length;
}

export function swap64(view: DataView, at: number, count: number): void {
  for (let p = at, end = at + count * 8; p < end; p += 8) {
    const hi = view.getUint32(p, false);
    const lo = view.getUint32(p + 4, false);
    view.setUint32(p, lo, true);
    view.setUint32(p + 4, hi, true);
  }
}
