/** SHA-256 of what the guest sees in a node. */
import { createHash } from "node:crypto";
import { read } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import { blockStatus } from "../../src/block/status.js";
import type { World } from "./world.js";

const PART = 4 << 20;

/** The digest of a range, read a few MiB at a time. */
export async function digest(world: World, node: Node, start: number, length: number): Promise<string> {
  const hash = createHash("sha256");
  for (let at = start; at < start + length; at += PART) {
    const part = new Uint8Array(Math.min(PART, start + length - at));
    await world.run(read(node, part, at));
    hash.update(part);
  }
  return hash.digest("hex");
}

/** The digest of the first `length` bytes of a large sparse disk: what the map says is zero is not read. */
export async function sparseDigest(world: World, node: Node, length: number): Promise<string> {
  const hash = createHash("sha256");
  const zeros = new Uint8Array(PART);
  for (let at = 0; at < length;) {
    const status = await world.run(blockStatus(node, at, length - at));
    const part = Math.min(status.length, PART);
    const bytes = new Uint8Array(status.zero ? 0 : part);
    if (!status.zero) await world.run(read(node, bytes, at));
    hash.update(status.zero ? zeros.subarray(0, part) : bytes);
    at += part;
  }
  return hash.digest("hex");
}
