/** Reading the words of commands: numbers with size suffixes, pattern bytes, request lengths. */
import { parseInteger, parseSize64 } from "../../base/size.js";
import type { IoSession } from "./session.js";

/** Longest single request, in bytes: the largest multiple of a sector below 2 GiB. */
export const MAX_REQUEST = 2147483136;

const INT64_MAX = 2n ** 63n - 1n;

/**
 * A number of bytes with an optional suffix; null after telling the user why not. Values from 2^53 on come back rounded: they are
 * beyond every image and fail as such where they are used.
 */
export function readNumber(session: IoSession, word: string): number | null {
  const size = parseSize64(word);
  if (size.status === "ok" && size.value <= INT64_MAX) return Number(size.value);
  session.print(
    size.status === "invalid"
      ? `Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ${word}\n`
      : `Parsing error: argument too large -- ${word}\n`,
  );
  return null;
}

/** "off len", for what is done with a buffer of that length; null after telling the user. */
export function readRange(session: IoSession, offset: string, length: string): { offset: number; length: number } | null {
  const from = readNumber(session, offset);
  if (from === null) return null;
  const count = readNumber(session, length);
  if (count === null) return null;
  if (count <= MAX_REQUEST) return { offset: from, length: count };
  session.print(`length cannot exceed ${MAX_REQUEST}, given ${length}\n`);
  return null;
}

/** A byte value in C notation (decimal, 0x…, 0…); null after telling the user. */
export function readPattern(session: IoSession, word: string): number | null {
  const value = parseInteger(word);
  if (typeof value === "bigint" && value >= 0n && value <= 255n) return Number(value);
  session.print(`${word} is not a valid pattern byte\n`);
  return null;
}

/** The sum of several lengths of a vectored request; null after telling the user. */
export function readLengths(session: IoSession, words: readonly string[]): number | null {
  let total = 0;
  for (const word of words) {
    const length = readNumber(session, word);
    if (length === null) return null;
    if (length > MAX_REQUEST) {
      session.print(`Argument '${word}' exceeds maximum size ${MAX_REQUEST}\n`);
      return null;
    }
    if (total > MAX_REQUEST - length) {
      session.print(`The total number of bytes exceed the maximum size ${MAX_REQUEST}\n`);
      return null;
    }
    total += length;
  }
  return total;
}
