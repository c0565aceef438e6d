/** Sizes of nodes. */
import { BlockError } from "../base/error.js";
import type { StorageImpl, TruncateOptions } from "./driver.js";
import { flush } from "./flush.js";
import type { Node } from "./node.js";
import { storageCan, StorageRequest, type Op } from "./op.js";
import { checkWritable, zeroGrow } from "./write.js";

/** Changes the size of the node. */
export function* truncate(node: Node, size: number, options: TruncateOptions): Op<void> {
  checkWritable(node, "truncate");
  if (!Number.isSafeInteger(size) || size < 0)
    throw new BlockError("ERR_OUT_OF_RANGE", `Image size must be between 0 and 2^53-1 bytes`);
  const impl = node.impl;
  if (impl.shape === "storage") {
    yield* truncateStorage(node, impl, size, options);
    for (const bitmap of node.bitmaps) bitmap.resize(node.size);
    return;
  }
  if (impl.truncate === undefined) {
    throw new BlockError("ERR_UNSUPPORTED", "Image format driver does not support resize", {
      errno: "ENOTSUP",
      node: node.nodeName,
    });
  }
  const from = Math.min(size, node.size);
  const lease = yield* node.requests.acquire(
    from,
    Math.max(size, node.size) - from,
    impl.shape === "mapped" ? impl.allocationUnit : 1,
  );
  try {
    yield* impl.truncate(size, options);
  } finally {
    node.requests.release(lease);
    for (const bitmap of node.bitmaps) bitmap.resize(node.size);
  }
}

function* truncateStorage(node: Node, impl: StorageImpl, size: number, options: TruncateOptions): Op<void> {
  const old = impl.size;
  if (impl.storage.fixedSize) {
    if (size === old || (size < old && !options.exact)) return;
    throw new BlockError("ERR_UNSUPPORTED", size > old ? "Cannot grow device files" : "Cannot shrink device files", {
      errno: size > old ? "EINVAL" : "ENOTSUP",
      node: node.nodeName,
    });
  }
  if (options.preallocation !== "off" && size < old) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "Preallocation can't be used for shrinking files", { errno: "ENOTSUP" });
  }
  switch (options.preallocation) {
    case "off":
      yield new StorageRequest(impl.storage, "truncate", size);
      break;
    case "falloc":
      if (size > old) {
        yield* allocateGrow(node, impl, old, size - old);
      }
      break;
    case "full":
      yield* zeroGrow(node, old, size - old);
      yield* flush(node);
      break;
    case "metadata":
      throw new BlockError("ERR_UNSUPPORTED", "Unsupported preallocation mode 'metadata'", { errno: "ENOTSUP" });
  }
  impl.size = size;
}

/** Reserves space behind the end; where a file system or platform cannot, zeros are written there. */
function* allocateGrow(node: Node, impl: StorageImpl, offset: number, length: number): Op<void> {
  if (storageCan(impl.storage, "allocate")) {
    try {
      yield new StorageRequest(impl.storage, "allocate", offset, length);
      return;
    } catch (error) {
      if (!(error instanceof BlockError) || error.code !== "ERR_UNSUPPORTED") throw error;
    }
  }
  yield* zeroGrow(node, offset, length);
}
