/**
 * A `World` (see test/support/world.ts) whose images are OPFS files of a dedicated worker.
 *
 *  - "sync": a pool of access handles that were opened beforehand; everything runs with `runSync`, opening and creating too.
 *  - "async": each opening gets its own access handle, as an application does it with `openOpfs`.
 */
import { offerJsonNames } from "../../src/block/json-names.js";
import { jsonNames } from "../../src/block/json-names-qapi.js";
import { errnoError } from "../../src/base/error.js";
import type { Environment, GateDecision } from "../../src/block/context.js";
import type { Driver } from "../../src/block/driver.js";
import { done } from "../../src/block/op.js";
import { protocolDriver } from "../../src/block/protocol.js";
import { portableCrypto } from "../../src/codec/crypto/portable-crypto.js";
import { portableCodecs } from "../../src/codec/portable.js";
import { openOpfs, opfsStorage, type OpfsFileHandle, type SyncAccessHandle } from "../../src/storage/opfs.js";
import type { Storage } from "../../src/storage/storage.js";
import { plainWorld } from "../support/plain-world.js";
import type { World } from "../support/world.js";

/** Files one test of the driver suite uses at most. */
const POOL = 4;
const handles: SyncAccessHandle[] = [];
const root = (): Promise<FileSystemDirectoryHandle> => navigator.storage.getDirectory();

async function fileHandle(name: string): Promise<OpfsFileHandle> {
  return (await (await root()).getFileHandle(name, { create: true })) as unknown as OpfsFileHandle;
}

async function pool(): Promise<SyncAccessHandle[]> {
  while (handles.length < POOL) handles.push(await (await fileHandle(`pool-${handles.length}`)).createSyncAccessHandle!());
  return handles;
}

function contentOf(handle: SyncAccessHandle): Uint8Array {
  const bytes = new Uint8Array(handle.getSize());
  if (bytes.length > 0 && handle.read(bytes, { at: 0 }) !== bytes.length) throw new Error("a short read");
  return bytes;
}

/** The handle stays open when the storage over it is closed: the pool keeps it. */
const lent = (handle: SyncAccessHandle): SyncAccessHandle => ({
  read: (into, options) => handle.read(into, options),
  write: (from, options) => handle.write(from, options),
  getSize: () => handle.getSize(),
  truncate: (size) => handle.truncate(size),
  flush: () => handle.flush(),
  close: () => handle.flush(),
});

export interface OpfsWorld extends World {
  /** Removes a file that is not open: opening it fails from now on. */
  forget(name: string): Promise<void>;
  /** Removes or empties all files. Images that are still open make it fail. */
  dispose(): Promise<void>;
}

export async function opfsWorld(mode: "sync" | "async", drivers: readonly Driver[]): Promise<OpfsWorld> {
  const warnings: string[] = [];
  const names = new Set<string>();
  const pooled = new Map<string, SyncAccessHandle>();
  const lastContent = new Map<string, Uint8Array>();
  const free = mode === "sync" ? [...(await pool())] : [];

  const openPooled = (name: string, readOnly: boolean): Storage => {
    const handle = pooled.get(name);
    if (handle === undefined) throw errnoError("ENOENT", undefined, { node: name });
    return opfsStorage(lent(handle), { name, readOnly });
  };
  const createPooled = (name: string): Storage => {
    const handle = pooled.get(name) ?? free.shift();
    if (handle === undefined) throw new Error("the pool of OPFS files is too small for this test");
    pooled.set(name, handle);
    handle.truncate(0);
    return openPooled(name, false);
  };
  const openOwn = async (name: string, readOnly: boolean): Promise<Storage> => {
    if (!names.has(name)) throw errnoError("ENOENT", undefined, { node: name });
    // `bytes` is synchronous: what a file holds is looked at when it is closed.
    const file = await fileHandle(name);
    const watched: OpfsFileHandle = {
      getFile: () => file.getFile(),
      // Handles are exclusive by default; the suite looks at an image through a second one while the first is open.
      createSyncAccessHandle: async () => {
        const handle = await file.createSyncAccessHandle!({ mode: "readwrite-unsafe" });
        return {
          ...lent(handle),
          close: () => {
            lastContent.set(name, contentOf(handle));
            handle.close();
          },
        };
      },
    };
    return await openOpfs(watched, { name, readOnly, face: "sync" });
  };
  const createOwn = async (name: string): Promise<Storage> => {
    names.add(name);
    const storage = await openOwn(name, false);
    storage.sync!.truncate(0);
    return storage;
  };
  const file = protocolDriver({
    name: "file",
    open:
      mode === "sync"
        ? { sync: (name, { readOnly }) => openPooled(name, readOnly), async: null }
        : { sync: null, async: (name, { readOnly }) => openOwn(name, readOnly) },
    create: mode === "sync" ? { sync: createPooled, async: null } : { sync: null, async: createOwn },
  });
  offerJsonNames(jsonNames);
  const environment: Environment = {
    drivers: new Map([...drivers, file].map((driver) => [driver.name, driver])),
    codecs: portableCodecs,
    crypto: portableCrypto,
    gate: () => done<GateDecision>(true),
    secrets: () => done(null),
    now: () => Date.now(),
    memoryBudget: 8 * 1024 * 1024,
    warn: (message) => void warnings.push(message),
  };
  const world: OpfsWorld = {
    ...plainWorld(mode, environment),
    mode,
    environment,
    files: new Map(),
    warnings,
    bytes(filename) {
      const handle = pooled.get(filename);
      const bytes = handle === undefined ? lastContent.get(filename) : contentOf(handle);
      if (bytes === undefined) throw new Error(`the world has no file '${filename}'`);
      return bytes;
    },
    async forget(name) {
      const handle = pooled.get(name);
      if (handle !== undefined) {
        pooled.delete(name);
        free.push(handle);
      }
      if (names.delete(name)) await (await root()).removeEntry(name);
    },
    async dispose() {
      for (const handle of pooled.values()) handle.truncate(0);
      pooled.clear();
      for (const name of names) await (await root()).removeEntry(name);
      names.clear();
    },
  };
  return world;
}
