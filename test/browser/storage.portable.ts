/** The storages of the browser, held to the contract by the conformance suite. */
import { blobStorage } from "../../src/storage/blob.js";
import { openOpfs, type OpfsFileHandle } from "../../src/storage/opfs.js";
import { storageSuite } from "../conformance/storage-suite.js";

const root = (): Promise<FileSystemDirectoryHandle> => navigator.storage.getDirectory();
let count = 0;
let name = "";

/** A fresh OPFS file that holds `content`. */
async function file(content: Uint8Array): Promise<OpfsFileHandle> {
  name = `file-${count++}`;
  const handle = await (await root()).getFileHandle(name, { create: true });
  const writable = await handle.createWritable();
  await writable.write(content as Uint8Array<ArrayBuffer>);
  await writable.close();
  return handle as unknown as OpfsFileHandle;
}
const readBack = async (): Promise<Uint8Array> => {
  const handle = await (await root()).getFileHandle(name);
  return new Uint8Array(await (await handle.getFile()).arrayBuffer());
};
const dispose = async (): Promise<void> => (await root()).removeEntry(name);

storageSuite("OPFS", ["sync"], {
  make: async (content) => openOpfs(await file(content), { face: "sync" }),
  dispose,
  writable: true,
  growable: true,
});
storageSuite("OPFS, read-only", ["sync"], {
  make: async (content) => openOpfs(await file(content), { face: "sync", readOnly: true }),
  dispose,
  writable: false,
  growable: true,
});
storageSuite("OPFS without access handles", ["async"], {
  make: async (content) => openOpfs(await file(content), { face: "async" }),
  readBack,
  dispose,
  writable: true,
  growable: true,
});
storageSuite("Blob", ["async"], {
  make: (content) => blobStorage(new Blob([content as Uint8Array<ArrayBuffer>])),
  writable: false,
  growable: false,
});
storageSuite("File of OPFS", ["async"], {
  make: async (content) => {
    await file(content);
    return blobStorage(await (await (await root()).getFileHandle(name)).getFile());
  },
  dispose,
  writable: false,
  growable: false,
});
