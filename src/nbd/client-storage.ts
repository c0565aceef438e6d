/** An NBD export as a storage: what makes `nbd://…` a file like any other. */
import { BlockError } from "../base/error.js";
import type { AsyncStorageFace, Storage, StorageExtent } from "../storage/storage.js";
import type { NbdClient } from "./client.js";
import { ExportFlag, StateFlag } from "./constants.js";

export interface NbdStorageOptions {
  /** What a user calls it: the URI. */
  name: string;
  readOnly: boolean;
  /** Makes a new connection: at first, and again when one is lost. */
  connect(): Promise<NbdClient>;
  /** How long to go on trying after a connection was lost, in ms; 0: errors at once. */
  reconnectDelay?: number;
}

/** Pause between attempts to connect again. */
const RETRY_MS = 200;

export async function nbdStorage(options: NbdStorageOptions): Promise<Storage> {
  const first = await options.connect();
  if (first.readOnly && !options.readOnly) {
    await first.close();
    throw new BlockError("ERR_READ_ONLY", "request on denied for write access: NBD server is read only", { errno: "EACCES" });
  }
  let client = first;
  let closed = false;
  let reconnecting: Promise<void> | null = null;

  const reconnect = (): Promise<void> =>
    (reconnecting ??= (async () => {
      const until = performance.now() + (options.reconnectDelay ?? 0);
      for (;;) {
        try {
          const again = await options.connect();
          if (again.info.size !== first.info.size) {
            await again.close();
            throw new BlockError("ERR_CHANGED", `The NBD export '${options.name}' has another size than before`);
          }
          client = again;
          return;
        } catch (error) {
          if (performance.now() >= until || closed) throw error;
          await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        }
      }
    })().finally(() => (reconnecting = null)));

  const attempt = async <T>(work: (client: NbdClient) => Promise<T>): Promise<T> => {
    if (closed) throw new BlockError("ERR_CLOSED", `'${options.name}' is closed`);
    for (;;) {
      const used = client;
      try {
        return await work(used);
      } catch (error) {
        if (!used.isClosed || (options.reconnectDelay ?? 0) === 0) throw error;
        if (used === client) await reconnect();
      }
    }
  };
  const size = first.info.size;
  const face: AsyncStorageFace = {
    async read(into, offset) {
      const length = Math.max(0, Math.min(into.length, size - offset));
      if (length > 0) await attempt((c) => c.read(into.subarray(0, length), offset));
      return length;
    },
    async write(from, offset) {
      if (offset + from.length > size) throw new BlockError("ERR_NO_SPACE", `'${options.name}' cannot grow beyond ${size} bytes`);
      if (from.length > 0) await attempt((c) => c.write(from, offset));
    },
    flush: () => attempt((c) => c.flush()),
    size: () => Promise.resolve(size),
    truncate(wanted) {
      if (wanted === size) return Promise.resolve();
      return Promise.reject(new BlockError("ERR_UNSUPPORTED", "NBD exports cannot be resized", { errno: "ENOTSUP" }));
    },
    async close() {
      if (closed) return;
      closed = true;
      await client.close();
    },
    ...(first.has(ExportFlag.writeZeroes)
      ? {
          writeZeroes: (offset: number, length: number, flags: { mayUnmap?: boolean; noFallback?: boolean }) =>
            attempt((c) =>
              c.writeZeroes(offset, length, {
                mayUnmap: flags.mayUnmap === true,
                fast: flags.noFallback === true && c.has(ExportFlag.fastZero),
              }),
            ),
        }
      : {}),
    ...(first.has(ExportFlag.trim)
      ? { discard: (offset: number, length: number) => attempt((c) => c.trim(offset, length)) }
      : {}),
    ...(first.canBlockStatus
      ? {
          async extents(offset: number, length: number): Promise<StorageExtent[]> {
            const found = await attempt((c) => c.blockStatus(offset, length, "base:allocation"));
            const extents: StorageExtent[] = [];
            let at = offset;
            for (const extent of found) {
              const run = Math.min(extent.length, offset + length - at);
              if (run <= 0) break;
              extents.push({ offset: at, length: run, data: (extent.flags & StateFlag.zero) === 0 });
              at += run;
            }
            return extents;
          },
        }
      : {}),
  };
  return {
    kind: "nbd",
    name: options.name,
    readOnly: options.readOnly,
    alignment: Math.max(1, first.info.minBlock),
    fixedSize: true,
    sync: null,
    async: face,
  };
}
