/**
 * JSON as QEMU writes it, byte for byte: `": "` and `", "` between things, everything beyond ASCII as \uXXXX, doubles with
 * 17 digits, and the members of an object in the order of QEMU's hash table.
 */
import { encodeText } from "../base/bytes.js";
import { BlockError } from "../base/error.js";
import { formatG } from "../base/format.js";
import { JSON_MAX_NESTING, type JsonValue } from "./json.js";

/** Members with value `undefined` are left out, so that optional results can be written as they are. */
export type JsonInput =
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly JsonInput[]
  | { readonly [key: string]: JsonInput | undefined };

export interface JsonWriteOptions {
  /** Newlines and four blanks a level, as `qemu-img --output=json`. */
  pretty?: boolean;
  /** "qdict" (default): QEMU's order; "insertion": as the object has them. */
  order?: "qdict" | "insertion";
}

const BUCKETS = 512;

/** The hash table bucket a key falls into (all arithmetic modulo 2^32). */
export function qdictBucket(key: string): number {
  const bytes = encodeText(key);
  let hash = Math.imul(0x238f13af, bytes.length);
  for (let i = 0; i < bytes.length; i++) hash = (hash + (bytes[i]! << ((i * 5) % 24))) | 0;
  hash = (Math.imul(1103515243, hash) + 12345) | 0;
  return (hash >>> 0) % BUCKETS;
}

/** Keys in the order QEMU would write them: by bucket; within a bucket the newest comes first. */
export function qdictOrder(keys: readonly string[]): string[] {
  return keys
    .map((key, index) => ({ key, index, bucket: qdictBucket(key) }))
    .sort((a, b) => a.bucket - b.bucket || b.index - a.index)
    .map((entry) => entry.key);
}

const SHORT: Record<string, string> = {
  '"': '\\"',
  "\\": "\\\\",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
};

/** Characters that are put together at a time. */
const PIECE = 1024;

const hex = (unit: number): string => `\\u${unit.toString(16).toUpperCase().padStart(4, "0")}`;

/** A quoted JSON string. Lone surrogates come out as U+FFFD. */
function quoteJson(text: string): string {
  // oxlint-disable-next-line no-control-regex
  if (/^[\x20\x21\x23-\x5b\x5d-\x7e]*$/.test(text)) return `"${text}"`;
  // In pieces: a string that grows by a character at a time takes 32 times as much memory.
  const pieces: string[] = [];
  let piece: string[] = [];
  for (const char of text) {
    if (piece.push(escapeJson(char)) < PIECE) continue;
    pieces.push(piece.join(""));
    piece = [];
  }
  return `"${pieces.join("")}${piece.join("")}"`;
}

function escapeJson(char: string): string {
  const point = char.codePointAt(0)!;
  if (point > 0xffff) return hex(char.charCodeAt(0)) + hex(char.charCodeAt(1));
  return SHORT[char] ?? (point >= 0x20 && point < 0x7f ? char : hex(point >= 0xd800 && point <= 0xdfff ? 0xfffd : point));
}

/** The text of `value`, without a newline at the end. */
export function writeJson(value: JsonInput | JsonValue, options: JsonWriteOptions = {}): string {
  const { pretty = false, order = "qdict" } = options;
  const out: string[] = [];

  const container = (open: string, close: string, count: number, depth: number, member: (index: number) => void): void => {
    if (depth > JSON_MAX_NESTING) throw new BlockError("ERR_TOO_LARGE", "JSON nesting depth limit exceeded");
    const newline = pretty ? `\n${" ".repeat(4 * depth)}` : "";
    out.push(open);
    for (let i = 0; i < count; i++) {
      if (i > 0) out.push(pretty ? "," : ", ");
      out.push(newline);
      member(i);
    }
    if (pretty) out.push(`\n${" ".repeat(4 * (depth - 1))}`);
    out.push(close);
  };

  const write = (item: JsonInput, depth: number): void => {
    if (item === null) out.push("null");
    else if (typeof item === "string") out.push(quoteJson(item));
    else if (typeof item === "number") out.push(formatG(item, 17));
    else if (typeof item !== "object") out.push(String(item));
    else if (Array.isArray(item)) {
      const list = item as readonly JsonInput[];
      container("[", "]", list.length, depth + 1, (i) => write(list[i]!, depth + 1));
    } else {
      const object = item as { readonly [key: string]: JsonInput | undefined };
      const present = Object.keys(object).filter((key) => object[key] !== undefined);
      const keys = order === "qdict" ? qdictOrder(present) : present;
      container("{", "}", keys.length, depth + 1, (i) => {
        out.push(quoteJson(keys[i]!), ": ");
        write(object[keys[i]!]!, depth + 1);
      });
    }
  };

  write(value as JsonInput, 0);
  return out.join("");
}
