/** Finding layers of a backing chain by name, and changing what an image names as its backing file. */
import { BlockError, errnoError, strerror, toBlockError } from "../base/error.js";
import type { MappedImpl } from "../block/driver.js";
import { isAbsolutePath, protocolOf } from "../block/filename.js";
import { below, skipFilters } from "../block/graph.js";
import type { Node } from "../block/node.js";
import { imageName, resolveIn } from "../block/node-filename.js";
import type { Op } from "../block/op.js";

/** The one spelling of a path that names a file, links followed where the platform can; null: there is no such file. */
export type RealPath = (path: string) => string | null;

/** Without a file system: "./a" and "b/../a" are one path. */
const lexicalPath: RealPath = (path) => {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    const last = parts[parts.length - 1];
    if (part === ".." && last !== undefined && last !== "..") parts.pop();
    else parts.push(part);
  }
  return (isAbsolutePath(path) ? "/" : "") + parts.join("/");
};

/** The layer below `node` that a user means by `name`: a path, relative to the image above the layer; other names as they are. */
export function findBackingImage(node: Node, name: string, realPath: RealPath = lexicalPath): Node | null {
  for (let above: Node = skipFilters(node); ;) {
    const next = below(above);
    if (next === null) return null;
    const layer = skipFilters(next);
    const impl = above.impl;
    const stored = impl.shape === "mapped" ? impl.backingFile?.filename : undefined;
    if (above.options["backing"] !== undefined || stored === undefined) {
      if (name === layer.filename) return layer;
    } else if (!isPath(name) || !isPath(stored)) {
      if (name === stored || name === layer.filename) return layer;
    } else {
      const wanted = realPath(resolved(above, name));
      if (wanted !== null && wanted === realPath(resolved(above, stored))) return layer;
    }
    above = layer;
  }
}

const isPath = (name: string): boolean => protocolOf(name) === null && !name.startsWith("json:");

function resolved(above: Node, name: string): string {
  try {
    return resolveIn(above, name);
  } catch {
    return name;
  }
}

/** The layer below `node` that is the file `filename`. */
export function findLayer(node: Node, filename: string, realPath: RealPath = lexicalPath): Node | null {
  const same = (other: string): boolean => {
    if (filename === other) return true;
    return isPath(filename) && isPath(other) && realPath(filename) === realPath(other) && realPath(other) !== null;
  };
  for (let next = below(skipFilters(node)); next !== null; next = below(skipFilters(next))) {
    const layer = skipFilters(next);
    if (same(imageName(layer))) return layer;
  }
  return null;
}

const changeFailed = (filename: string | null, what: string, cause: unknown): BlockError => {
  const { code, errno } = toBlockError(cause);
  return new BlockError(code, `Could not change the backing file to '${filename ?? ""}': ${what}`, { errno, cause });
};

/** Whether an image can be told another backing file at all. */
export function canChangeBackingFile(node: Node, format: string | null = null): boolean {
  const { impl } = skipFilters(node);
  if (impl.shape !== "mapped" || impl.changeBackingFile === undefined) return false;
  return format === null || (impl.backingFormats?.includes(format) ?? true);
}

/** Throws what `changeBackingFile` would throw before it changes anything. */
export function refuseChange(node: Node, filename: string | null, format: string | null): void {
  if (filename !== null && format === null)
    throw changeFailed(filename, "backing format must be specified", errnoError("EINVAL"));
  if (!canChangeBackingFile(node, format)) throw changeFailed(filename, strerror("ENOTSUP"), errnoError("ENOTSUP"));
}

/**
 * Rewrites the backing file an image names; null: none.
 * @throws BlockError "Could not change the backing file to 'x': …"
 */
export function* changeBackingFile(node: Node, filename: string | null, format: string | null): Op<void> {
  refuseChange(node, filename, format);
  const top = skipFilters(node);
  try {
    yield* (top.impl as MappedImpl).changeBackingFile!(filename, format);
    // Whether the new name leads to what is open below, only opening it again would tell.
    top.ownBacking = null;
  } catch (error) {
    const { errno } = toBlockError(error);
    throw changeFailed(filename, errno === "ENOSPC" ? "No space left in the file header" : strerror(errno), error);
  }
}
