/** What a file is that is not of the format it was opened as: for the hint below the error. */
import { startsWith } from "../base/bytes.js";
import { BlockError, prefixError } from "../base/error.js";
import { read } from "./io.js";
import type { Node } from "./node.js";
import type { Op } from "./op.js";

/** Bytes looked at. */
const HEAD = 2048;
/** How sure another format must be (of 100): not by a name or a guess. */
const SURE = 50;

const PACKED: readonly (readonly [readonly number[], string])[] = [
  [[0x1f, 0x8b], "gzip"],
  [[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], "xz"],
  [[0x42, 0x5a, 0x68], "bzip2"],
  [[0x28, 0xb5, 0x2f, 0xfd], "zstd"],
  [[0x04, 0x22, 0x4d, 0x18], "lz4"],
  [[0x50, 0x4b, 0x03, 0x04], "zip"],
  [[0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c], "7-Zip"],
  [[0x52, 0x61, 0x72, 0x21, 0x1a, 0x07], "RAR"],
];

/**
 * The failure to open `node`, and where its file holds something else that is well known, what to do about that. The failure's words
 * stay as they are.
 */
export function* explainFailure(node: Node, failure: unknown): Op<unknown> {
  if (!(failure instanceof BlockError) || failure.hint !== undefined || node.driver.category !== "format") return failure;
  const file = node.child("file");
  if (file === null || failure.code === "ERR_IO") return failure;
  try {
    const head = new Uint8Array(Math.min(HEAD, file.size));
    yield* read(file, head, 0);
    const hint = (node.driver.probe?.(head, "") ?? 0) > 0 ? null : hintOf(node, head);
    return hint === null ? failure : prefixError("", failure, hint);
  } catch {
    return failure;
  }
}

function hintOf(node: Node, head: Uint8Array): string | null {
  if (startsWith(head, "encrcdsa")) return "The file is an encrypted Apple disk image, of format 'dmg'.";
  for (const driver of node.environment.drivers.values()) {
    if (driver !== node.driver && driver.category === "format" && (driver.probe?.(head, "") ?? 0) >= SURE)
      return `The file looks like an image of format '${driver.name}'.`;
  }
  const packed = PACKED.find(([magic]) => magic.every((byte, at) => head[at] === byte));
  if (packed !== undefined) return `The file is packed with ${packed[1]}: unpack it first.`;
  if (startsWith(head, "ustar", 257)) return "The file is a tar archive; an OVA holds its disks as files inside.";
  if (startsWith(head, "sprs")) return "The file is an Apple sparse image of the old kind, which cannot be read.";
  const text = String.fromCharCode(...head.subarray(0, 64))
    .trimStart()
    .toLowerCase();
  if (text.startsWith("<!doctype html") || text.startsWith("<html")) return "The file is an HTML page: the download went wrong.";
  return null;
}
