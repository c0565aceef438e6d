/**
 * Storages by name, where the platform has no file system: those that were given, those made in memory on the way (targets of jobs,
 * overlays of snapshots), and what a scheme opens ("opfs:"). However often a name is opened, there is one storage behind it.
 */
import { errnoError } from "../base/error.js";
import { closeStorage } from "./sources.js";
import { memoryStorage } from "../storage/memory.js";
import { sliceStorage } from "../storage/slice.js";
import type { Storage, StorageOpener, StorageRemover } from "../storage/storage.js";

/** Opens what a name with a scheme means, for reading and writing unless it cannot be; with `create`, made if missing and emptied. */
export type SchemeOpener = (rest: string, options: { create: boolean }) => Promise<Storage>;

interface Entry {
  readonly storage: Storage;
  /** Users at present. */
  users: number;
  /** Stays without users: it was given, or would be lost. */
  readonly kept: boolean;
  /** Was opened for this, and is to be closed at the end. */
  readonly own: boolean;
}

export class NamedFiles {
  readonly #entries = new Map<string, Promise<Entry>>();
  readonly #schemes: Readonly<Record<string, SchemeOpener>>;

  constructor(schemes: Readonly<Record<string, SchemeOpener>> = {}) {
    this.#schemes = schemes;
  }

  readonly open: StorageOpener = {
    sync: null,
    async: async (name, { readOnly }) => this.#lend(name, await this.#entry(name, false), readOnly),
  };
  readonly create: StorageOpener = {
    sync: null,
    async: async (name) => {
      const entry = await this.#entry(name, true);
      if (entry.users > 0) throw errnoError("EBUSY", undefined, { node: name });
      const lent = this.#lend(name, entry, false);
      if (lent.sync !== null) lent.sync.truncate(0);
      else await lent.async!.truncate(0);
      return lent;
    },
  };
  readonly remove: StorageRemover = {
    sync: null,
    async: async (name) => {
      const entry = await this.#entries.get(name);
      if (entry?.users === 0) this.#entries.delete(name);
    },
  };

  /** Gives a storage a name; one that comes as a promise is closed at the end. @throws BlockError ERR_EXISTS */
  add(name: string, storage: Storage | Promise<Storage>): void {
    if (this.#entries.has(name)) throw errnoError("EEXIST", undefined, { node: name });
    const own = storage instanceof Promise;
    const entry = Promise.resolve(storage).then((found): Entry => ({ storage: found, users: 0, kept: true, own }));
    entry.catch(() => {});
    this.#entries.set(name, entry);
  }
  has(name: string): boolean {
    return this.#entries.has(name);
  }
  /** The storage of this name, that must not be in use for writing elsewhere meanwhile; null when there is none. */
  async get(name: string): Promise<Storage | null> {
    return (await this.#entries.get(name))?.storage ?? null;
  }

  #entry(name: string, create: boolean): Promise<Entry> {
    const known = this.#entries.get(name);
    if (known !== undefined) return known;
    const colon = name.indexOf(":");
    const opener = colon < 0 ? undefined : this.#schemes[name.slice(0, colon)];
    if (opener === undefined && !create) throw errnoError("ENOENT", undefined, { node: name });
    const made = (
      opener === undefined ? Promise.resolve(memoryStorage(0, { name })) : opener(name.slice(colon + 1), { create })
    ).then((storage): Entry => ({ storage, users: 0, kept: opener === undefined, own: opener !== undefined }));
    this.#entries.set(name, made);
    made.catch(() => void this.#entries.delete(name));
    return made;
  }

  #lend(name: string, entry: Entry, readOnly: boolean): Storage {
    if (!readOnly && entry.storage.readOnly) throw errnoError("EACCES", undefined, { node: name });
    entry.users++;
    const window = sliceStorage(entry.storage, 0, null, { name, readOnly, keepOpen: true });
    let open = true;
    /** Whether the storage has lost its last user and goes. */
    const leave = (): boolean => {
      if (!open) return false;
      open = false;
      if (--entry.users > 0 || entry.kept) return false;
      this.#entries.delete(name);
      return true;
    };
    const { sync, async } = window;
    return {
      ...window,
      sync: sync && {
        ...sync,
        close() {
          sync.close();
          if (leave()) entry.storage.sync!.close();
        },
      },
      async: async && {
        ...async,
        async close() {
          await async.close();
          if (leave()) await entry.storage.async!.close();
        },
      },
      reopen: (ro) => this.#lend(name, entry, ro),
    };
  }

  /** Closes every storage that was opened for a name and is still open. Those that were given stay open. */
  async close(): Promise<void> {
    for (const [name, made] of this.#entries) {
      const entry = await made.catch(() => null);
      if (entry === null || !entry.own) continue;
      this.#entries.delete(name);
      await closeStorage(entry.storage);
    }
  }
}
