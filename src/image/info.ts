/** What an image is: `ImageInfo` of QAPI, as `qemu-img info` reports it. */
import { BlockError } from "../base/error.js";
import { filenameToOptions } from "../block/filename.js";
import type { Environment, OpenFlags } from "../block/context.js";
import { skipFilters } from "../block/graph.js";
import type { Node } from "../block/node.js";
import { storageCan, StorageRequest, type Op } from "../block/op.js";
import { resolveIn } from "../block/node-filename.js";
import { MAX_CHAIN_DEPTH } from "../block/open.js";
import type { ImageInfo } from "../block/types.js";
import { closeQuietly, imageSize, openImage, type ImageSpec } from "./open.js";

/** Describes one open image (not its backing chain). */
export function* imageInfo(node: Node): Op<ImageInfo> {
  const impl = node.impl;
  const info: ImageInfo = { filename: node.filename, format: node.driver.name, "virtual-size": imageSize(node) };
  const actual = yield* allocatedSize(node);
  if (actual !== null) info["actual-size"] = actual;
  // Filters have the clusters of what they filter.
  const details = skipFilters(node).impl.blockInfo?.();
  if (details !== undefined) {
    if (details.clusterSize !== undefined) info["cluster-size"] = details.clusterSize;
    info["dirty-flag"] = details.dirty ?? false;
  }
  const own = impl.blockInfo?.();
  if (own?.encrypted === true) info.encrypted = true;
  if (own?.compressed === true) info.compressed = true;
  const specific = yield* specificInfo(node);
  if (specific !== undefined) info["format-specific"] = specific;
  if (impl.shape === "mapped") {
    const link = impl.backingFile;
    if (link !== undefined && link !== null) {
      info["backing-filename"] = link.filename;
      const full = fullBackingName(node, link.filename);
      if (full !== null) info["full-backing-filename"] = full;
      if (link.format !== null) info["backing-filename-format"] = link.format;
    }
    const snapshots = impl.snapshots?.list() ?? [];
    if (snapshots.length > 0) info.snapshots = snapshots;
  }
  return info;
}

function* specificInfo(node: Node): Op<ImageInfo["format-specific"]> {
  const own = yield* node.impl.specificInfo?.() ?? none();
  return own;
}
// eslint-disable-next-line require-yield
function* none(): Op<undefined> {
  return undefined;
}

function fullBackingName(node: Node, filename: string): string | null {
  try {
    return resolveIn(node, filename);
  } catch (error) {
    if (error instanceof BlockError) return null;
    throw error;
  }
}

/** Bytes the image occupies: its files, without backing files. null when a medium does not say. */
export function* allocatedSize(node: Node): Op<number | null> {
  const impl = node.impl;
  if (impl.shape === "storage") {
    if (!storageCan(impl.storage, "allocatedSize")) return null;
    return (yield new StorageRequest(impl.storage, "allocatedSize")) as number | null;
  }
  if (impl.shape === "intercept" && impl.allocatedSize !== undefined) return impl.allocatedSize();
  const filtered = node.children.find((child) => child.role === "filtered");
  // Filters that are opened by name (blkdebug) do not say, as in QEMU.
  if (filtered !== undefined) return node.driver.schemes === undefined ? yield* allocatedSize(filtered.node) : null;
  let sum = 0;
  for (const child of node.children) {
    if (child.role === "backing") continue;
    const part = yield* allocatedSize(child.node);
    if (part === null) return null;
    sum += part;
  }
  return sum;
}

/**
 * Describes the image and all below it, each opened by itself without its backing file, as `--backing-chain` does.
 * @throws BlockError ERR_CORRUPT when the chain is a loop
 */
export function* imageInfoChain(environment: Environment, spec: ImageSpec, flags: Partial<OpenFlags> = {}): Op<ImageInfo[]> {
  const chain: ImageInfo[] = [];
  const seen = new Set<string>();
  let next: ImageSpec | null = spec;
  while (next !== null) {
    const current: ImageSpec = next;
    if (seen.has(current.filename) || chain.length >= MAX_CHAIN_DEPTH) {
      throw new BlockError("ERR_CORRUPT", `Backing file '${current.filename}' creates an infinite loop.`, { errno: "EINVAL" });
    }
    seen.add(current.filename);
    const node = yield* openImage(environment, current, { ...flags, noBacking: true, noIO: true });
    let info: ImageInfo;
    try {
      info = yield* imageInfo(node);
    } finally {
      yield* closeQuietly(node);
    }
    chain.push(info);
    next = null;
    const backing = info["full-backing-filename"] ?? info["backing-filename"];
    if (backing !== undefined) {
      const format = info["backing-filename-format"];
      // Of what an image names, only what the gate lets through is opened.
      const decision = yield* environment.gate({
        kind: "backing",
        filename: info["backing-filename"]!,
        resolved: backing,
        format: format ?? null,
        image: info.filename,
      });
      if (decision === false) {
        throw new BlockError(
          "ERR_DENIED",
          `'${info.filename}' names the backing file '${backing}', which was not allowed to be opened`,
        );
      }
      filenameToOptions(backing, environment.drivers);
      next = { filename: backing, ...(format === undefined ? {} : { format }) };
    }
  }
  return chain;
}
