/** What callers in JavaScript pass, checked where it comes in: types are no promise there, and a wrong number must not become an empty answer. */
import { BlockError } from "../base/error.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";

const invalid = (message: string, hint: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message, { hint });

/** @throws BlockError ERR_INVALID_ARGUMENT for what is no Uint8Array (of whatever realm) */
export function checkBytes(value: unknown): void {
  if ((value as Partial<Uint8Array> | null)?.[Symbol.toStringTag] === "Uint8Array") return;
  throw invalid(
    "Bytes must come as a Uint8Array",
    "new Uint8Array(buffer) for an ArrayBuffer, new TextEncoder().encode(text) for text.",
  );
}

/** @throws BlockError ERR_OUT_OF_RANGE unless `length` bytes from `offset` on lie inside the node: before a buffer is allocated for them */
export function checkLength(node: Node, offset: number, length: number): void {
  if (Number.isSafeInteger(length) && length >= 0 && offset + length <= node.size) return;
  throw new BlockError(
    "ERR_OUT_OF_RANGE",
    `read of ${length} bytes at offset ${offset} is outside '${node.filename}' (${node.size} bytes)`,
    { errno: "EIO", offset },
  );
}

/** Bytes [start, end) of a node, `end` cut off at its size. @throws BlockError ERR_OUT_OF_RANGE */
export function spanOf(node: Node, from: number | undefined, to: number | undefined): { start: number; end: number } {
  const { size } = node;
  const [start, end] = [from ?? 0, to ?? size];
  if (
    Number.isSafeInteger(start) &&
    start >= 0 &&
    start <= size &&
    (end === Infinity || Number.isSafeInteger(end)) &&
    end >= start
  )
    return { start, end: Math.min(end, size) };
  throw new BlockError("ERR_OUT_OF_RANGE", `[${start}, ${end}) is no range of '${node.filename}' (${size} bytes)`);
}

/** @throws BlockError ERR_INVALID_ARGUMENT for what is no size of an image */
export function checkSize(size: unknown): void {
  if (Number.isSafeInteger(size) && (size as number) >= 0) return;
  throw invalid(`Image size must be a whole number of bytes, not ${JSON.stringify(size)}`, "For example { size: 10 * GiB }.");
}

/** What changes an image, refused with a way out where the image was opened for reading. */
export function* changing<T>(node: Node, change: Op<T>): Op<T> {
  if (node.readOnly) {
    throw new BlockError("ERR_READ_ONLY", `'${node.filename}' is open for reading only`, {
      errno: "EPERM",
      node: node.nodeName,
      hint: "Open it with { writable: true }.",
    });
  }
  return yield* change;
}

/** @throws BlockError ERR_INVALID_ARGUMENT for an option that the call does not know: a misspelt one must not be passed over */
export function checkOptions(call: string, options: object, known: readonly string[]): void {
  if (typeof options !== "object" || options === null)
    throw invalid(`${call} takes its options as an object`, `It has: ${known.join(", ")}.`);
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw invalid(`${call} has no option '${name}'`, `It has: ${known.join(", ")}.`);
  }
}

/** The options of methods that several kinds of images have. */
export const WRITE_ZEROES: readonly string[] = ["unmap"];
export const RESIZE: readonly string[] = ["preallocation", "shrink"];
export const EXTENTS: readonly string[] = ["from", "to", "signal"];
