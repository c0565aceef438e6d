/** File names in FAT directories: the short one of eight and three characters, and the long one in pieces of 13 before it. */
import { ENTRY } from "./layout.js";

export const NAME_LENGTH = 11;
const SPACE = 0x20;
/** Stands for 0xe5 as a first byte, which marks deleted entries. */
const KANJI = 0xe5;
const KANJI_STAND_IN = 0x05;
const SHORT_EXTRAS = "$%'-_@~`!(){}^#&";
const LONG_EXTRAS = " $%'-_@~`!(){}^#&.+,;=[]";
/** Where the characters of a long name are in an entry. */
const PLACES: readonly number[] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
const LONG_NAME = 0x0f;
/** UTF-16 units of a name. */
const MAX_UNITS = 255;

const isDigit = (code: number): boolean => code >= 0x30 && code <= 0x39;
const isUpper = (code: number): boolean => code >= 0x41 && code <= 0x5a;

/** The byte for a character in a short name; 0 when it has none. Beyond ASCII, the low byte decides, as with QEMU. */
function shortByte(character: string): number {
  const upper = character.toUpperCase();
  const code = (upper.length === character.length ? upper : character).codePointAt(0)!;
  if (isDigit(code) || isUpper(code)) return code;
  const low = code & 0xff;
  return low !== 0 && SHORT_EXTRAS.includes(String.fromCharCode(low)) ? low : 0;
}

/** The short names of one directory. */
export class ShortNames {
  readonly #taken = new Set<string>();
  /** By name without a number: the first number that may be free. Thousands of files may begin alike. */
  readonly #next = new Map<string, number>();

  add(short: Uint8Array): void {
    this.#taken.add(shortKey(short));
  }

  /** A short name for `name` that no other has: "LONGNA~1TXT". null where a million of them were not enough. */
  make(name: string): Uint8Array | null {
    const { bytes, length, lossy } = shorten(name);
    const key = `${length} ${shortKey(bytes)}`;
    if (!lossy && !this.#taken.has(shortKey(bytes))) return this.#give(bytes);
    for (let number = this.#next.get(key) ?? 1; number < 999999; number++) {
      const tail = `~${number}`;
      const at = Math.min(length, 8 - tail.length);
      for (let i = 0; i < tail.length; i++) bytes[at + i] = tail.charCodeAt(i);
      if (this.#taken.has(shortKey(bytes))) continue;
      this.#next.set(key, number + 1);
      return this.#give(bytes);
    }
    return null;
  }

  #give(bytes: Uint8Array): Uint8Array {
    this.add(bytes);
    return bytes;
  }
}

/** As much of a name as goes into a short one; `length` bytes before the extension; `lossy`: something is missing. */
function shorten(name: string): { bytes: Uint8Array; length: number; lossy: boolean } {
  const bytes = new Uint8Array(NAME_LENGTH).fill(SPACE);
  let lossy = false;
  let length = 0;
  let dot = -1;
  const characters = Array.from(name);
  characters.forEach((character, index) => {
    if (character === ".") {
      if (length === 0) lossy = true;
      else {
        if (dot >= 0) lossy = true;
        dot = index;
      }
    } else if (dot < 0) {
      const byte = shortByte(character);
      if (length < 8 && byte !== 0) bytes[length++] = byte;
      else lossy = true;
    }
  });
  if (dot >= 0) {
    let extension = 0;
    for (const character of characters.slice(dot + 1)) {
      const byte = shortByte(character);
      if (extension < 3 && byte !== 0) bytes[8 + extension++] = byte;
      else lossy = true;
    }
  }
  if (bytes[0] === KANJI) bytes[0] = KANJI_STAND_IN;
  return { bytes, length, lossy };
}

function shortKey(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes.subarray(0, NAME_LENGTH));
}

/** What ties the pieces of a long name to its short one. */
export function shortChecksum(short: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < NAME_LENGTH; i++) sum = ((sum >> 1) + ((sum & 1) << 7) + short[i]!) & 0xff;
  return sum;
}

/** The entries of a long name, the last piece first. */
export function longNameEntries(name: string, checksum: number): Uint8Array {
  const count = Math.ceil(name.length / PLACES.length);
  const bytes = new Uint8Array(count * ENTRY);
  for (let i = 0; i < count; i++) {
    const piece = count - 1 - i;
    const entry = bytes.subarray(i * ENTRY, (i + 1) * ENTRY);
    entry[0] = (piece + 1) | (i === 0 ? 0x40 : 0);
    entry[11] = LONG_NAME;
    entry[13] = checksum;
    PLACES.forEach((place, index) => {
      const at = piece * PLACES.length + index;
      const unit = at < name.length ? name.charCodeAt(at) : at === name.length ? 0 : 0xffff;
      entry[place] = unit & 0xff;
      entry[place + 1] = unit >> 8;
    });
  }
  return bytes;
}

/** Collects the pieces of a long name as a directory is read. */
export class LongNameReader {
  #units: number[] = [];
  #expected = 0;
  #checksum = -1;

  static is(entry: Uint8Array): boolean {
    return (entry[11]! & 0x3f) === LONG_NAME;
  }

  reset(): void {
    this.#expected = 0;
    this.#checksum = -1;
  }

  /** Pieces out of order belong to no file: they are forgotten. */
  take(entry: Uint8Array): void {
    const number = entry[0]! & 0x3f;
    if ((entry[0]! & 0x40) !== 0) {
      this.#units = [];
      this.#expected = number;
      this.#checksum = entry[13]!;
    } else if (number !== this.#expected || entry[13] !== this.#checksum) {
      this.reset();
      return;
    }
    if (number === 0) {
      this.reset();
      return;
    }
    this.#units.unshift(...PLACES.map((place) => entry[place]! | (entry[place + 1]! << 8)));
    this.#expected = number - 1;
  }

  /** The long name that belongs to this short one, or null. */
  finish(short: Uint8Array): string | null {
    const whole = this.#expected === 0 && this.#checksum === shortChecksum(short);
    this.reset();
    if (!whole) return null;
    const end = this.#units.indexOf(0);
    return String.fromCharCode(...(end < 0 ? this.#units : this.#units.slice(0, end)));
  }
}

/** The name for the host of a file that has a short name only: in lower case, as QEMU has it. null: not a valid one. */
export function readShortName(short: Uint8Array): string | null {
  const part = (from: number, to: number): string | null => {
    let end = to;
    while (end > from && short[end - 1] === SPACE) end--;
    let text = "";
    for (let i = from; i < end; i++) {
      const code = short[i]!;
      if (!isDigit(code) && !isUpper(code) && !SHORT_EXTRAS.includes(String.fromCharCode(code))) return null;
      text += String.fromCharCode(code).toLowerCase();
    }
    return text;
  };
  const base = part(0, 8);
  const extension = part(8, NAME_LENGTH);
  if (base === null || extension === null || base === "") return null;
  return extension === "" ? base : `${base}.${extension}`;
}

/** Whether a name from the guest may become one of the host: QEMU's set of characters, and no way out of the directory. */
export function isValidName(name: string): boolean {
  if (name === "" || name === "." || name === ".." || name.length > MAX_UNITS || /\p{Cs}/u.test(name)) return false;
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    if (code > 127 || isDigit(code) || isUpper(code) || (code >= 0x61 && code <= 0x7a)) continue;
    if (!LONG_EXTRAS.includes(name[i]!)) return false;
  }
  return true;
}
