/**
 * Sizes and numbers as people type them: "64k", "1.5G", "0x200".
 *
 * QEMU's rules: decimal with an optional fraction, or hexadecimal without; then an optional suffix B K M G T P E in either
 * case (powers of 1024); leading blanks and "+" are fine, a minus sign is not. Exact arithmetic, rounded half up to bytes.
 */
import { BlockError } from "./error.js";

export type SizeSuffix = "B" | "K" | "M" | "G" | "T" | "P" | "E";

export type SizeParse =
  | { status: "ok"; value: bigint; /** Discouraged spelling that QEMU warns about. */ hexWithSuffix: boolean }
  /** Not a size. */
  | { status: "invalid" }
  /** 2^64 or more. */
  | { status: "range" };

const SUFFIXES = "BKMGTPE";
const UINT64_MAX = 2n ** 64n - 1n;
const INT64_MAX = 2n ** 63n - 1n;
/** Longer digit strings are out of range anyway; keeps BigInt work small. */
const MAX_TEXT = 4096;

/** The whole of `text` as a size; `unit` applies when there is no suffix. */
export function parseSize64(text: string, unit: SizeSuffix = "B"): SizeParse {
  const match = /^[ \t\n\v\f\r]*\+?(?:0[xX]([0-9a-fA-F]+)|([0-9]+)(\.[0-9]*)?)([bkmgtpeBKMGTPE]?)$/.exec(text);
  if (match === null) return { status: "invalid" };
  if (text.length > MAX_TEXT) return { status: "range" };
  const [, hexDigits, digits, point, suffix] = match;
  const scale = 10n * BigInt(SUFFIXES.indexOf(suffix !== undefined && suffix !== "" ? suffix.toUpperCase() : unit));
  let value = hexDigits !== undefined ? BigInt(`0x${hexDigits}`) : BigInt(digits!);
  if (point !== undefined) {
    // 64 fractional bits, cut off; then half up.
    const fraction = BigInt(Math.trunc(Number(`0${point.length > 1 ? point : ""}`) * 2 ** 64));
    if (fraction !== 0n && scale === 0n) return { status: "invalid" };
    value = ((((value << 64n) + fraction) << scale) + (1n << 63n)) >> 64n;
  } else {
    value <<= scale;
  }
  if (value > UINT64_MAX) return { status: "range" };
  return { status: "ok", value, hexWithSuffix: hexDigits !== undefined && suffix !== "" };
}

/**
 * A size argument of a qemu-img command (`what`: "image size", "buffer size", …) in [min, max].
 * Throws ERR_INVALID_ARGUMENT in qemu-img's words. The default maximum is the largest safe integer.
 */
export function parseSizeArgument(what: string, text: string, range: { min?: number; max?: number } = {}): number {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = range;
  const size = parseSize64(text);
  if (size.status === "invalid") {
    throw new BlockError(
      "ERR_INVALID_ARGUMENT",
      `Invalid ${what} specified. You may use k, M, G, T, P or E suffixes for\nkilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.`,
    );
  }
  // Beyond the safe integers only what a number can say exactly.
  const value = size.status === "ok" && BigInt(Number(size.value)) === size.value ? Number(size.value) : Infinity;
  if (value < min || value > max) {
    throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid ${what} specified. Must be between ${min} and ${max}.`, {
      errno: "ERANGE",
    });
  }
  return value;
}

/** A number as qemu-io's commands take it. Throws with qemu-io's "Parsing error: …". */
export function parseIoNumber(text: string): number {
  const size = parseSize64(text);
  if (size.status === "invalid") {
    throw new BlockError(
      "ERR_INVALID_ARGUMENT",
      `Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ${text}`,
    );
  }
  if (size.status === "range" || size.value > INT64_MAX || size.value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new BlockError("ERR_INVALID_ARGUMENT", `Parsing error: argument too large -- ${text}`, { errno: "ERANGE" });
  }
  return Number(size.value);
}

/** C's strtoll/strtoull with base 0 over the whole text: decimal, 0x…, 0…(octal), sign. "range" beyond (-2^64, 2^64). */
export function parseInteger(text: string): bigint | "invalid" | "range" {
  const match = /^[ \t\n\v\f\r]*([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))$/.exec(text);
  if (match === null) return "invalid";
  if (text.length > MAX_TEXT) return "range";
  const [, sign, hexDigits, octal, decimal] = match;
  const magnitude =
    hexDigits !== undefined ? BigInt(`0x${hexDigits}`) : octal !== undefined ? BigInt(`0o0${octal}`) : BigInt(decimal!);
  if (magnitude > UINT64_MAX) return "range";
  return sign === "-" ? -magnitude : magnitude;
}
