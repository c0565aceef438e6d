/** Fields of an image, and what to put into them. */
import { viewOf } from "../../src/base/bytes.js";
import type { Random } from "../support/random.js";

/** A number of the image: `length` bytes (1 to 8). */
export interface Field {
  readonly name: string;
  readonly at: number;
  readonly length: number;
  /** Its last byte is the greatest. */
  readonly little?: boolean;
  /** It is text of that many bytes instead: a word of it becomes another one. */
  readonly text?: boolean;
}
/** Names and places (relative to where the structure begins) of the numbers of one structure. */
export type Layout = readonly (readonly [name: string, at: number, length: number])[];

/** Entries of one table that are taken as fields at most: those at the beginning, where small images have theirs. */
const ENTRIES = 24;

/** Collects the fields of one image; places outside of it are passed by. */
export class FieldList {
  readonly fields: Field[] = [];
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #little: boolean;

  constructor(bytes: Uint8Array, order: "little" | "big") {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
    this.#little = order === "little";
  }

  u32(at: number): number {
    return at >= 0 && at + 4 <= this.#bytes.length ? this.#view.getUint32(at, this.#little) : 0;
  }
  u64(at: number): number {
    const [high, low] = this.#little ? [at + 4, at] : [at, at + 4];
    return this.u32(high) * 4294967296 + this.u32(low);
  }
  add(name: string, at: number, length: number): void {
    if (at >= 0 && at + length <= this.#bytes.length) this.fields.push({ name, at, length, little: this.#little });
  }
  layout(name: string, at: number, layout: Layout): void {
    for (const [part, from, length] of layout) this.add(`${name}.${part}`, at + from, length);
  }
  /** Its first entries; `each` gets the place of every one. */
  table(name: string, at: number, entries: number, width: number, each: (at: number) => void = () => {}): void {
    for (let i = 0; i < Math.min(entries, ENTRIES); i++) {
      this.add(`${name}[${i}]`, at + i * width, width);
      each(at + i * width);
    }
  }
  text(name: string, at: number, length: number): void {
    if (at + length <= this.#bytes.length) this.fields.push({ name, at, length, text: true });
  }
}

/** Puts something else into a field; returns what was done, for the report. */
export function damage(bytes: Uint8Array, field: Field, fields: readonly Field[], choose: Random): string {
  if (field.text === true) return damageText(bytes, field, choose);
  const { at, length } = field;
  const old = bytes.slice(at, at + length);
  const part = bytes.subarray(at, at + length);
  // Written with the greatest byte first, then turned round where that is the field's order.
  const turn = (): void => void (field.little === true && part.reverse());
  turn();
  switch (choose.int(9)) {
    case 0:
      part.fill(0);
      break;
    case 1:
      part.fill(0xff);
      break;
    case 2: // one bit
      part[choose.int(length)]! ^= 1 << choose.int(8);
      break;
    case 3: // one more or less, at some place value
      part[length - 1 - choose.int(Math.min(3, length))]! += choose.chance(0.5) ? 1 : 0xff;
      break;
    case 4: // the sign, or close to it
      part.fill(choose.chance(0.5) ? 0 : 0xff);
      part[0] = choose.chance(0.5) ? 0x80 : 0x7f;
      break;
    case 5: {
      // what another field of this width has: tables that are each other's
      const other = choose.pick(fields.filter((other) => other.length === length && other.text !== true));
      turn();
      part.set(bytes.slice(other.at, other.at + length));
      turn();
      break;
    }
    case 6: // far away, but aligned
      part.fill(0);
      part[choose.int(length)] = 1 << choose.int(8);
      break;
    case 7: // close to the end of the file, in bytes or in sectors
      part.fill(0);
      if (length >= 4) {
        const end = Math.max(0, bytes.length - 512 * choose.int(3));
        viewOf(part).setUint32(length - 4, choose.chance(0.5) ? end : Math.floor(end / 512));
      }
      break;
    default:
      part.set(choose.bytes(length));
  }
  turn();
  return `${field.name} at ${at}: ${hex(old)} -> ${hex(part)}`;
}

const hex = (from: Uint8Array): string => Array.from(from, (byte) => byte.toString(16).padStart(2, "0")).join("");

const WORDS: readonly string[] = [
  "",
  "0",
  "-1",
  "1",
  "4294967295",
  "4294967296",
  "18446744073709551615",
  "99999999999999999999",
  "0x10",
  "1e9",
  "NaN",
  '"',
  "../../etc/passwd",
  "json:{}",
  "image",
  "\n",
  "RW 2048 SPARSE",
  "ZERO",
  "\u00e4\u{1f4be}",
];

/** Another word in the place of one, a line gone, or one twice; what the text had after its end is cut or zeros. */
function damageText(bytes: Uint8Array, { name, at, length }: Field, choose: Random): string {
  const region = bytes.subarray(at, at + length);
  const end = region.indexOf(0);
  const text = new TextDecoder("latin1").decode(region.subarray(0, end < 0 ? length : end));
  const lines = text.split("\n");
  const row = choose.int(lines.length);
  const line = lines[row]!;
  let how = "gone";
  switch (choose.int(4)) {
    case 0:
      lines.splice(row, 1);
      break;
    case 1:
      lines.splice(choose.int(lines.length), 0, line);
      how = "twice";
      break;
    default: {
      const words = line.split(/(?<=[ ="])|(?=[ ="])/);
      const word = choose.int(words.length);
      how = choose.pick(WORDS);
      words[word] = how;
      lines[row] = words.join("");
    }
  }
  const next = new TextEncoder().encode(lines.join("\n")).subarray(0, length);
  region.fill(0);
  region.set(next);
  return `${name}, line ${JSON.stringify(line)}: ${JSON.stringify(how)}`;
}
