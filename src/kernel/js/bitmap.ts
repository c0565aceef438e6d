/** TypeScript twin of assembly/bitmap/bitmap.ts. Bit numbers go up to 2^32, so byte numbers come by division. */

const POPULATION: Uint8Array = /* @__PURE__ */ Uint8Array.from({ length: 256 }, (_, byte) => {
  let bits = 0;
  for (let rest = byte; rest !== 0; rest &= rest - 1) bits++;
  return bits;
});

/** Bits [from, to) of a byte. */
const byteMask = (from: number, to: number): number => (0xff << from) & (0xff >>> (8 - to));

function population(bytes: Uint8Array, from: number, to: number): number {
  let bits = 0;
  for (let at = from; at < to; at++) bits += POPULATION[bytes[at]!]!;
  return bits;
}

/** Flips the masked bits that are not yet `value` (0 or 0xff) and returns how many that were. */
function writeByte(bytes: Uint8Array, at: number, mask: number, value: number): number {
  const flip = (bytes[at]! ^ value) & mask;
  bytes[at]! ^= flip;
  return POPULATION[flip]!;
}

function writeRange(bytes: Uint8Array, bitmap: number, first: number, count: number, value: number): number {
  if (count <= 0) return 0;
  const last = first + count;
  let at = bitmap + Math.floor(first / 8);
  const end = bitmap + Math.floor(last / 8);
  const head = first % 8;
  const tail = last % 8;
  if (at === end) return writeByte(bytes, at, byteMask(head, tail), value);
  let changed = 0;
  if (head !== 0) changed += writeByte(bytes, at++, byteMask(head, 8), value);
  const set = population(bytes, at, end);
  changed += value === 0 ? set : (end - at) * 8 - set;
  bytes.fill(value, at, end);
  if (tail !== 0) changed += writeByte(bytes, end, byteMask(0, tail), value);
  return changed;
}

export function bitSetRange(bytes: Uint8Array, bitmap: number, first: number, count: number): number {
  return writeRange(bytes, bitmap, first, count, 0xff);
}

export function bitClearRange(bytes: Uint8Array, bitmap: number, first: number, count: number): number {
  return writeRange(bytes, bitmap, first, count, 0x00);
}

export function bitCount(bytes: Uint8Array, bitmap: number, first: number, count: number): number {
  if (count <= 0) return 0;
  const last = first + count;
  let at = bitmap + Math.floor(first / 8);
  const end = bitmap + Math.floor(last / 8);
  const head = first % 8;
  const tail = last % 8;
  if (at === end) return POPULATION[bytes[at]! & byteMask(head, tail)]!;
  let bits = 0;
  if (head !== 0) bits += POPULATION[bytes[at++]! & byteMask(head, 8)]!;
  bits += population(bytes, at, end);
  if (tail !== 0) bits += POPULATION[bytes[end]! & byteMask(0, tail)]!;
  return bits;
}

/** First bit in the range that differs from the bits of `skip` (0x00 or 0xff), or -1. */
function findOther(bytes: Uint8Array, bitmap: number, first: number, count: number, skip: number): number {
  if (count <= 0) return -1;
  const last = first + count;
  let at = bitmap + Math.floor(first / 8);
  const end = bitmap + Math.ceil(last / 8);
  let other = (bytes[at]! ^ skip) & (0xff << (first % 8)) & 0xff;
  if (other === 0) {
    at++;
    while (at < end && bytes[at] === skip) at++;
    if (at === end) return -1;
    other = bytes[at]! ^ skip;
  }
  const found = (at - bitmap) * 8 + 31 - Math.clz32(other & -other);
  return found < last ? found : -1;
}

export function bitFindSet(bytes: Uint8Array, bitmap: number, first: number, count: number): number {
  return findOther(bytes, bitmap, first, count, 0x00);
}

export function bitFindClear(bytes: Uint8Array, bitmap: number, first: number, count: number): number {
  return findOther(bytes, bitmap, first, count, 0xff);
}

export function bitOr(bytes: Uint8Array, target: number, source: number, length: number): void {
  for (let i = 0; i < length; i++) bytes[target + i]! |= bytes[source + i]!;
}

export function bitAnd(bytes: Uint8Array, target: number, source: number, length: number): void {
  for (let i = 0; i < length; i++) bytes[target + i]! &= bytes[source + i]!;
}

export function bitAndNot(bytes: Uint8Array, target: number, source: number, length: number): void {
  for (let i = 0; i < length; i++) bytes[target + i]! &= ~bytes[source + i]!;
}
