/** What can be opened on any platform: bytes, blobs, URLs, OPFS handles, objects with a size and a read, and storages themselves. */
import { BlockError } from "../base/error.js";
import { blobStorage, type BlobLike } from "../storage/blob.js";
import { customStorage, type CustomSource } from "../storage/custom.js";
import { httpStorage } from "../storage/http.js";
import { memoryStorage } from "../storage/memory.js";
import { opfsStorage, type SyncAccessHandle } from "../storage/opfs.js";
import type { Storage } from "../storage/storage.js";

export type PortableSource = Storage | Uint8Array | ArrayBuffer | BlobLike | URL | SyncAccessHandle | CustomSource;

const has = (value: object, ...names: string[]): boolean =>
  names.every((name) => typeof (value as Record<string, unknown>)[name] === "function");

function isStorage(value: object): value is Storage {
  return "sync" in value && "async" in value && "fixedSize" in value;
}

/** @throws BlockError ERR_INVALID_ARGUMENT for anything else */
export function portableStorage(source: PortableSource, writable: boolean): Storage | Promise<Storage> {
  if (typeof source === "object" && source !== null) {
    if (isStorage(source)) return source;
    if (source instanceof Uint8Array) return memoryStorage(source);
    if (source instanceof ArrayBuffer) return memoryStorage(new Uint8Array(source));
    if (source instanceof URL) return httpStorage(source);
    if (has(source, "getSize", "truncate", "read")) return opfsStorage(source as SyncAccessHandle, { readOnly: !writable });
    if (has(source, "slice") && typeof (source as BlobLike).size === "number") return blobStorage(source as BlobLike);
    if (has(source, "read") && "size" in source) return customStorage(source as CustomSource, writable ? {} : { readOnly: true });
  }
  throw new BlockError("ERR_INVALID_ARGUMENT", "This cannot be opened as an image", {
    hint: "Pass bytes, a Blob or File, a URL, an OPFS access handle, a storage, or an object with a size and a read method.",
  });
}
