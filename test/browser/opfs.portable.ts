/** What the OPFS storage relies on, asked of the browser itself. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { place } from "../support/portable.js";

interface SyncHandle {
  read(into: Uint8Array, options: { at: number }): number;
  write(from: Uint8Array, options: { at: number }): number;
  truncate(size: number): void;
  getSize(): number;
  flush(): void;
  close(): void;
}
interface FileHandle {
  createSyncAccessHandle(): Promise<SyncHandle>;
  getFile(): Promise<Blob>;
}

const open = async (name: string): Promise<FileHandle> => {
  const directory = await navigator.storage.getDirectory();
  return (await directory.getFileHandle(name, { create: true })) as unknown as FileHandle;
};

const opfs = suite("OPFS");

opfs("the page is cross-origin isolated and this is a dedicated worker", () => {
  assert.is(place().runtime, "chromium");
  assert.is((globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated, true);
  assert.type((globalThis as { importScripts?: unknown }).importScripts, "function");
});

opfs("a sync access handle keeps bytes beyond 4 GiB", async () => {
  const GiB = 2 ** 30;
  const handle = await open("large");
  const sync = await handle.createSyncAccessHandle();
  try {
    sync.truncate(5 * GiB);
    assert.is(sync.getSize(), 5 * GiB);
    const bytes = Uint8Array.from({ length: 65536 }, (_, i) => (i * 7) & 255);
    assert.is(sync.write(bytes, { at: 4 * GiB + 512 }), bytes.length);
    sync.flush();
    const back = new Uint8Array(bytes.length);
    assert.is(sync.read(back, { at: 4 * GiB + 512 }), bytes.length);
    assert.equal(back, bytes);
    assert.is(sync.read(back, { at: 2 * GiB }), back.length);
    assert.ok(
      back.every((byte) => byte === 0),
      "the gap reads as zeros",
    );
    assert.is(sync.read(back, { at: 5 * GiB - 16 }), 16);
  } finally {
    sync.close();
  }
  assert.is((await handle.getFile()).size, 5 * GiB);
});

opfs("a second handle is refused", async () => {
  const handle = await open("locked");
  const first = await handle.createSyncAccessHandle();
  try {
    await handle.createSyncAccessHandle().then(
      () => assert.unreachable("two exclusive handles"),
      (error: Error) => assert.is(error.name, "NoModificationAllowedError"),
    );
  } finally {
    first.close();
  }
});

opfs.run();
