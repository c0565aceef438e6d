/** Protocol drivers: the nodes at the bottom of the graph, each holding a Storage. */
import { BlockError, prefixError, toBlockError } from "../base/error.js";
import type { Storage, StorageOpener, StorageOpenOptions, StorageRemover } from "../storage/storage.js";
import type { Environment, OpenContext, OpenFlags } from "./context.js";
import type { Driver, StorageImpl } from "./driver.js";
import { foreign, storageSize, StorageRequest, type Op } from "./op.js";
import { Node } from "./node.js";
import { READ_WRITE } from "./flags.js";
import { takeBool, takeEnum, takeSize, takeString } from "./take.js";

export interface ProtocolDefinition {
  name: string;
  schemes?: readonly string[];
  /** Whether a plain path is one of this protocol's special files. */
  claims?: (filename: string) => boolean;
  open: StorageOpener;
  /** Makes or empties a file and opens it read-write; absent where the protocol cannot. */
  create?: StorageOpener;
  /** Removes a file; absent where the protocol cannot. */
  remove?: StorageRemover;
}

function* throughOpener(what: string, opener: StorageOpener, filename: string, options: StorageOpenOptions): Op<Storage> {
  return yield* foreign(
    `${what} '${filename}'`,
    opener.sync === null ? null : () => opener.sync!(filename, options),
    opener.async === null ? null : () => opener.async!(filename, options),
  );
}

function* createStorage(create: StorageOpener, path: string, filename: string): Op<Storage> {
  try {
    return yield* throughOpener("Creating", create, path, { readOnly: false });
  } catch (error) {
    // Some storages say so themselves.
    const isSaid = /^(Could not create '|Failed to get )/.test((error as Error).message);
    throw isSaid ? error : prefixError(`Could not create '${filename}': `, error);
  }
}

/** auto-read-only: what cannot be written is opened to be read. */
function* openOrReadOnly(opener: StorageOpener, filename: string, options: StorageOpenOptions, flags: OpenFlags): Op<Storage> {
  try {
    return yield* throughOpener("Opening", opener, filename, options);
  } catch (error) {
    const { errno } = toBlockError(error);
    if (flags.autoReadOnly !== true || !flags.write || (errno !== "EACCES" && errno !== "EROFS" && errno !== "EPERM"))
      throw error;
    flags.write = false;
    return yield* throughOpener("Opening", opener, filename, { ...options, readOnly: true });
  }
}

export function protocolDriver(definition: ProtocolDefinition): Driver {
  const { name, open, create, remove, schemes, claims } = definition;
  const driver: Driver = {
    name,
    category: "protocol",
    ...(schemes === undefined ? {} : { schemes }),
    ...(claims === undefined ? {} : { claims }),
    ...(create === undefined
      ? {}
      : {
          *createFile(environment: Environment, filename: string): Op<Node> {
            const path = filename.startsWith(`${name}:`) && name === "file" ? filename.slice(5) : filename;
            const storage = yield* createStorage(create, path, filename);
            const node = new Node(environment, driver, { driver: name, filename: path }, { ...READ_WRITE, unmap: true });
            node.givenName = path;
            node.impl = yield* storageImpl(storage);
            return node;
          },
        }),
    ...(remove === undefined
      ? {}
      : {
          *deleteFile(filename: string): Op<void> {
            const path = filename.startsWith(`${name}:`) && name === "file" ? filename.slice(5) : filename;
            yield* foreign(
              `Removing '${path}'`,
              remove.sync === null ? null : () => remove.sync!(path),
              remove.async === null ? null : () => remove.async!(path),
            );
          },
        }),
    mutableOptions: ["x-check-cache-dropped"],
    runtimeOptions: ["filename", "locking", "aio", "aio-max-batch", "x-check-cache-dropped", "drop-cache"],
    *open(context: OpenContext): Op<StorageImpl> {
      const filename = takeString(context.options, "filename");
      if (filename === undefined || filename === "")
        throw new BlockError("ERR_INVALID_ARGUMENT", `The '${name}' block driver requires a file name`);
      const locking = takeEnum(context.options, "locking", ["auto", "on", "off"]) ?? "auto";
      // Linux and its page cache: nothing of that is to be had here.
      for (const ignored of ["drop-cache", "x-check-cache-dropped"]) takeBool(context.options, ignored);
      takeSize(context.options, "aio-max-batch");
      if (takeEnum(context.options, "aio", ["threads", "native", "io_uring"]) === "native" && !context.flags.direct)
        throw new BlockError(
          "ERR_INVALID_ARGUMENT",
          "aio=native was specified, but it requires cache.direct=on, which was not specified.",
        );
      context.node.givenName = filename;
      const options: StorageOpenOptions = {
        readOnly: !context.flags.write,
        forceShare: context.flags.forceShare,
        locking,
      };
      try {
        return yield* storageImpl(yield* openOrReadOnly(open, filename, options, context.flags));
      } catch (error) {
        const inner = (error as Error).message;
        const complete = /^(Could not open '|Failed to|force-share=|'\w+' driver requires )/.test(inner);
        throw complete ? error : prefixError(`Could not open '${filename}': `, error);
      }
    },
  };
  return driver;
}

/** The implementation of a node over an open storage. */
export function* storageImpl(storage: Storage): Op<StorageImpl> {
  const size = yield* storageSize(storage);
  const impl: StorageImpl = {
    shape: "storage",
    storage,
    size,
    *close(): Op<void> {
      yield new StorageRequest(impl.storage, "close");
    },
  };
  return impl;
}

/** The driver of nodes that are made from a storage object the caller has. */
export const storageObjectDriver: Driver = {
  name: "file",
  category: "protocol",
  open(): Op<StorageImpl> {
    throw new BlockError("ERR_INVALID_ARGUMENT", "A storage object is needed to make this node");
  },
};
