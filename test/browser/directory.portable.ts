/** A directory of OPFS as a FAT disk: read, changed like a guest's, and the files in the browser changed with it. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fatDisk, open, type DirectorySource } from "../../src/browser.js";
import { readFat } from "../support/fat.js";

const text = (value: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(value) as Uint8Array<ArrayBuffer>;

async function put(folder: FileSystemDirectoryHandle, name: string, content: string): Promise<void> {
  const writable = await (await folder.getFileHandle(name, { create: true })).createWritable();
  await writable.write(text(content));
  await writable.close();
}
const get = async (folder: FileSystemDirectoryHandle, name: string): Promise<string> =>
  (await (await folder.getFileHandle(name)).getFile()).text();

/** Sectors that differ, written from the last to the first. */
async function change(source: DirectorySource, to: Uint8Array): Promise<void> {
  const disk = await fatDisk(source, { floppy: true, writable: true });
  const image = await open(disk, { format: "raw", writable: true });
  const from = await image.read(0, image.size);
  for (let at = to.length - 512; at >= 0; at -= 512) {
    const sector = to.subarray(at, at + 512);
    if (sector.some((byte, i) => byte !== from[at + i])) await image.write(sector, at);
  }
  await image.close();
  await disk.async!.close();
}
async function bytesOf(source: DirectorySource): Promise<Uint8Array> {
  const disk = await fatDisk(source, { floppy: true });
  const image = await open(disk, { format: "raw" });
  const bytes = await image.read(0, image.size);
  await image.close();
  await disk.async!.close();
  return bytes;
}

const directory = suite("OPFS directory as a FAT disk");

directory("files are read, created, renamed, moved, written and removed", async () => {
  const root = await navigator.storage.getDirectory();
  const before = await root.getDirectoryHandle("before", { create: true });
  const after = await root.getDirectoryHandle("after", { create: true });
  await put(before, "stays.txt", "one");
  await put(before, "goes.txt", "two");
  await put(await before.getDirectoryHandle("sub", { create: true }), "inner.txt", "three");
  await put(after, "stays.txt", "one, and more");
  const moved = await after.getDirectoryHandle("another name", { create: true });
  await put(moved, "inner.txt", "three");
  await put(moved, "new.txt", "x".repeat(20_000));
  const source = before as unknown as DirectorySource;
  const target = await bytesOf(after as unknown as DirectorySource);
  assert.equal(Object.keys(readFat(await bytesOf(source)).tree).sort(), ["goes.txt", "stays.txt", "sub"]);
  await change(source, target);
  const names: string[] = [];
  for await (const name of (before as unknown as { keys(): AsyncIterable<string> }).keys()) names.push(name);
  assert.equal(names.sort(), ["another name", "stays.txt"]);
  assert.is(await get(before, "stays.txt"), "one, and more");
  const folder = await before.getDirectoryHandle("another name");
  assert.is(await get(folder, "inner.txt"), "three");
  assert.is(await get(folder, "new.txt"), "x".repeat(20_000));
});

directory.run();
