/** An NBD export as a storage: what makes `nbd://…` a file like any other. */
import { BlockError } from "../base/error.js";
import type { AsyncStorageFace, Storage, StorageExtent } from "../storage/storage.js";
import type { NbdClient } from "./client.js";
import { ExportFlag, StateFlag } from "./constants.js";

export interface NbdStorageOptions {
  /** What a user calls it: the URI. */
  name: string;
  readOnly: boolean;
  /** An export that cannot be written is opened to be read. */
  autoReadOnly?: boolean;
  /** Makes a new connection: at first, and again when one is lost. */
  connect(): Promise<NbdClient>;
  /** How long requests wait for a new connection after one was lost, in ms; after that they fail until it is back. 0: they fail at once. */
  reconnectDelay?: number;
  /** How long to go on trying at first, in ms; 0: one attempt. */
  openTimeout?: number;
  /** Metadata context that tells what is data; `base:allocation` where not given. Others are read as QEMU's x-dirty-bitmap does. */
  context?: string;
}

/** Pause between attempts to connect, in ms. */
const RETRY_MS = 200;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** `work`, or `ms` have passed. */
async function within(work: Promise<unknown>, ms: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  await Promise.race([work, new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)))]);
  clearTimeout(timer);
}

/** The connection of a storage, which is another one after the first was lost. */
class Connection {
  readonly #options: NbdStorageOptions;
  readonly first: NbdClient;
  #client: NbdClient;
  #lostAt: number | null = null;
  #attempt: Promise<void> | null = null;
  #closed = false;

  private constructor(options: NbdStorageOptions, client: NbdClient) {
    this.#options = options;
    this.first = client;
    this.#client = client;
  }

  static async open(options: NbdStorageOptions): Promise<Connection> {
    const until = performance.now() + (options.openTimeout ?? 0);
    for (;;) {
      try {
        return new Connection(options, await options.connect());
      } catch (error) {
        // The last attempt is made when the time is over, not where another pause would not fit in.
        const left = until - performance.now();
        if (left <= 0) throw error;
        await pause(Math.min(RETRY_MS, left));
      }
    }
  }

  /** Does a request; again over a new connection where the old one is lost and `reconnectDelay` leaves time for that. */
  async use<T>(work: (client: NbdClient) => Promise<T>): Promise<T> {
    for (;;) {
      if (this.#closed) throw new BlockError("ERR_CLOSED", `'${this.#options.name}' is closed`);
      const used = this.#client;
      try {
        return await work(used);
      } catch (error) {
        if (!used.isClosed || this.#closed) throw error;
        if (used === this.#client) await this.#wait(error);
      }
    }
  }

  async #wait(error: unknown): Promise<void> {
    this.#lostAt ??= performance.now();
    const until = this.#lostAt + (this.#options.reconnectDelay ?? 0);
    while (this.#client.isClosed) {
      // It goes on when nobody waits for it any more: later requests find the new connection.
      this.#attempt ??= this.#connect();
      const left = until - performance.now();
      if (left <= 0 || this.#closed) throw error;
      await within(this.#attempt, left);
      if (this.#client.isClosed) await pause(Math.min(RETRY_MS, Math.max(0, until - performance.now())));
    }
  }

  async #connect(): Promise<void> {
    try {
      const again = await this.#options.connect();
      if (this.#closed || again.info.size !== this.first.info.size || again.info.flags !== this.first.info.flags) {
        await again.close();
        return;
      }
      this.#client = again;
      this.#lostAt = null;
    } catch {
      // not yet
    } finally {
      this.#attempt = null;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#client.close();
  }
}

/** @throws BlockError when the server cannot be reached in time, has no such export, or will not be written to */
export async function nbdStorage(options: NbdStorageOptions): Promise<Storage> {
  const connection = await Connection.open(options);
  const { first } = connection;
  const attempt = connection.use.bind(connection);
  if (first.readOnly && !options.readOnly && options.autoReadOnly !== true) {
    await connection.close();
    throw new BlockError("ERR_READ_ONLY", "request on denied for write access: NBD server is read only", { errno: "EACCES" });
  }
  const context = options.context ?? "base:allocation";
  if (options.context !== undefined && !first.info.contexts.includes(options.context)) {
    await connection.close();
    throw new BlockError("ERR_NOT_FOUND", `requested x-dirty-bitmap ${options.context} not found`, { errno: "EINVAL" });
  }
  // Depths beyond the first backing layer are one: two bits are all there is.
  const meaning =
    context === "qemu:allocation-depth" ? (depth: number): number => Math.min(depth, 2) : (flags: number): number => flags;
  const { size } = first.info;
  const block = Math.max(1, first.info.minBlock);
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
    close: () => connection.close(),
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
            const found = await attempt((c) => c.blockStatus(offset, length, context));
            return wholeBlocks(found, offset, length, block).map(({ offset: at, length: run, flags: raw }) => {
              const flags = raw === null ? 0 : meaning(raw);
              return { offset: at, length: run, data: (flags & StateFlag.hole) === 0, zero: (flags & StateFlag.zero) !== 0 };
            });
          },
        }
      : {}),
  };
  return {
    kind: "nbd",
    name: options.name,
    readOnly: options.readOnly || first.readOnly,
    alignment: block,
    fixedSize: true,
    sync: null,
    async: face,
  };
}

/**
 * What a server told about a range, in whole blocks: the answer ends before one that it cut in two (which it should not do). Where that
 * is the first one there is, it is data (`flags` are null).
 */
function wholeBlocks(
  found: readonly { length: number; flags: number }[],
  offset: number,
  length: number,
  block: number,
): { offset: number; length: number; flags: number | null }[] {
  const runs: { offset: number; length: number; flags: number | null }[] = [];
  const end = offset + length;
  let at = offset;
  for (const { length: told, flags } of found) {
    const run = Math.min(told, end - at);
    if (run <= 0) break;
    const rest = at + run < end ? run % block : 0;
    if (run > rest) runs.push({ offset: at, length: run - rest, flags });
    else if (runs.length === 0) runs.push({ offset: at, length: Math.min(block, end - at), flags: null });
    if (rest > 0) break;
    at += run;
  }
  return runs;
}
