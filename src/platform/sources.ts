/** What can be opened on any platform: bytes, blobs, URLs, file and access handles, objects with a size and a read, and storages themselves. */
import { BlockError } from "../base/error.js";
import { blobStorage, type BlobLike } from "../storage/blob.js";
import { customStorage, type CustomSource } from "../storage/custom.js";
import { httpStorage } from "../storage/http.js";
import { memoryStorage } from "../storage/memory.js";
import { openOpfs, opfsStorage, type OpfsFileHandle, type SyncAccessHandle } from "../storage/opfs.js";
import type { Storage } from "../storage/storage.js";

export type PortableSource =
  | Storage
  | Uint8Array
  | ArrayBuffer
  | BlobLike
  | URL
  | OpfsFileHandle
  | SyncAccessHandle
  | CustomSource;

const has = (value: object, ...names: string[]): boolean =>
  names.every((name) => typeof (value as Record<string, unknown>)[name] === "function");

function isStorage(value: object): value is Storage {
  return "sync" in value && "async" in value && "fixedSize" in value;
}

/** Ends the use of a storage, whichever faces it has. */
export async function closeStorage(storage: Storage): Promise<void> {
  if (storage.async !== null) await storage.async.close();
  else storage.sync!.close();
}

/**
 * A promise of what has to be opened first, and then is not the caller's to close.
 * @throws BlockError ERR_INVALID_ARGUMENT for anything else
 */
export function portableStorage(source: PortableSource, writable: boolean): Storage | Promise<Storage> {
  if (typeof source === "object" && source !== null) {
    if (isStorage(source)) return source;
    if (source instanceof Uint8Array) return memoryStorage(source);
    if (source instanceof ArrayBuffer) return memoryStorage(new Uint8Array(source));
    if (source instanceof URL) return httpStorage(source);
    if (has(source, "getFile")) return openOpfs(source as OpfsFileHandle, { readOnly: !writable });
    if (has(source, "getSize", "truncate", "read")) return opfsStorage(source as SyncAccessHandle, { readOnly: !writable });
    if (has(source, "slice") && typeof (source as BlobLike).size === "number") return blobStorage(source as BlobLike);
    if (has(source, "read") && "size" in source) return customStorage(source as CustomSource, writable ? {} : { readOnly: true });
  }
  throw new BlockError("ERR_INVALID_ARGUMENT", "This cannot be opened as an image", {
    hint: "Pass bytes, a Blob or File, a URL, a file handle, a storage, or an object with a size and a read method.",
  });
}

/** What a name means where there are no files: only URLs mean something. */
export function storageByUrl(name: string): Promise<Storage> | null {
  return /^https?:\/\//i.test(name) ? httpStorage(new URL(name)) : null;
}
