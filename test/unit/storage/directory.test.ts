/** Directories: in memory, of the host, and behind the handles of a browser (acted by a fake one). */
import * as fs from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fatDisk } from "../../../src/platform/directories.js";
import { open } from "../../../src/node.js";
import type { AsyncDirectoryFace, Directory, SyncDirectoryFace } from "../../../src/storage/directory.js";
import { handleDirectory, type DirectoryHandle, type FileHandle } from "../../../src/storage/opfs-directory.js";
import { memoryDirectory } from "../../../src/storage/memory-directory.js";
import { nodeDirectory } from "../../../src/storage/node-directory.js";
import { readFat } from "../../support/fat.js";
import { tempPath } from "../../support/temp.js";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const failure = (name: string): DOMException => new DOMException(name, name);

/** As a browser's: files are replaced when a writer closes. */
function fakeFile(name: string): FileHandle {
  let bytes = new Uint8Array(0);
  return {
    kind: "file",
    name,
    getFile: async () => Object.assign(new Blob([bytes]), { lastModified: 1 }),
    createWritable: async () => {
      let next = bytes.slice();
      return {
        async write(change) {
          if (change.type === "truncate") {
            const cut = new Uint8Array(change.size);
            cut.set(next.subarray(0, change.size));
            next = cut;
          } else {
            const end = change.position + change.data.length;
            if (end > next.length) {
              const grown = new Uint8Array(end);
              grown.set(next);
              next = grown;
            }
            next.set(change.data, change.position);
          }
        },
        async close() {
          bytes = next;
        },
      };
    },
  };
}
function fakeFolder(name: string): DirectoryHandle {
  const entries = new Map<string, FileHandle | DirectoryHandle>();
  const get = (kind: string, wanted: string, create: boolean): FileHandle | DirectoryHandle => {
    const found = entries.get(wanted);
    if (found !== undefined && found.kind !== kind) throw failure("TypeMismatchError");
    if (found === undefined && !create) throw failure("NotFoundError");
    const handle = found ?? (kind === "file" ? fakeFile(wanted) : fakeFolder(wanted));
    entries.set(wanted, handle);
    return handle;
  };
  return {
    kind: "directory",
    name,
    async *values() {
      yield* entries.values();
    },
    getFileHandle: async (wanted, options) => get("file", wanted, options?.create === true) as FileHandle,
    getDirectoryHandle: async (wanted, options) => get("directory", wanted, options?.create === true) as DirectoryHandle,
    async removeEntry(wanted) {
      const found = entries.get(wanted);
      if (found === undefined) throw failure("NotFoundError");
      if (found.kind === "directory") for await (const _ of found.values()) throw failure("InvalidModificationError");
      entries.delete(wanted);
    },
  };
}

const kinds: Record<string, () => Directory> = {
  memory: () => memoryDirectory(),
  node: () => {
    const path = tempPath("directory");
    fs.mkdirSync(path);
    return nodeDirectory(path, { readOnly: false });
  },
  handle: () => handleDirectory(fakeFolder("folder"), { readOnly: false }),
};
const faceOf = (directory: Directory): SyncDirectoryFace | AsyncDirectoryFace => directory.sync ?? directory.async!;
const codeOf = async (work: () => unknown): Promise<string> => {
  try {
    await work();
    return "none";
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
};

for (const [kind, make] of Object.entries(kinds)) {
  const directory = suite(`directory: ${kind}`);
  directory("creates, writes, lists, reads, renames and removes", async () => {
    const face = faceOf(make());
    const names = async (path: string[]): Promise<string[]> =>
      (await face.list(path))
        .flatMap(({ name, directory: folder, size }) => (name === "." ? [] : [`${name}${folder ? "/" : `=${size}`}`]))
        .sort();
    await face.createDirectory(["sub"]);
    await face.createFile(["sub", "file"]);
    await face.write(["sub", "file"], text("hello world"), 0);
    await face.write(["sub", "file"], text("!"), 15);
    await face.createFile(["other"]);
    assert.equal(await names([]), ["other=0", "sub/"]);
    const into = new Uint8Array(20).fill(9);
    assert.is(await face.read(["sub", "file"], into, 6), 10);
    assert.equal(new TextDecoder().decode(into.subarray(0, 10)), "world\0\0\0\0!");
    await face.truncate(["sub", "file"], 5);
    await face.flush();
    assert.equal(await names(["sub"]), ["file=5"]);
    assert.is(await codeOf(() => face.createFile(["other"])), "ERR_EXISTS");
    assert.is(await codeOf(() => face.createDirectory(["other"])), "ERR_EXISTS");
    assert.is(await codeOf(() => face.rename(["sub", "file"], ["other"])), "ERR_EXISTS");
    assert.is(await codeOf(() => face.read(["none"], into, 0)), "ERR_NOT_FOUND");
    assert.is.not(await codeOf(() => face.remove(["sub"])), "none");
    await face.rename(["sub"], ["moved"]);
    await face.rename(["moved", "file"], ["moved", "name"]);
    assert.is(await face.read(["moved", "name"], into, 0), 5);
    await face.remove(["moved", "name"]);
    await face.remove(["moved"]);
    assert.equal(await names([]), ["other=0"]);
    await face.close();
  });
  directory("as a disk, read and written", async () => {
    const source = make();
    const face = faceOf(source);
    await face.createFile(["a.txt"]);
    await face.write(["a.txt"], text("before"), 0);
    await face.flush();
    const storage = await fatDisk(source, { floppy: true, writable: true, label: "MINE" });
    const image = await open(storage, { format: "raw", writable: true });
    const bytes = await image.read(0, image.size);
    const { tree, label } = readFat(bytes);
    assert.equal([label, Object.keys(tree)], ["MINE", ["a.txt"]]);
    const at = bytes.findIndex((_, i) => i % 512 === 0 && new TextDecoder().decode(bytes.subarray(i, i + 6)) === "before");
    await image.write(text("behind"), at);
    await image.close();
    await storage.async!.close();
    const again = new Uint8Array(6);
    await face.read(["a.txt"], again, 0);
    assert.equal(new TextDecoder().decode(again), "behind");
    await face.close();
  });
  directory.run();
}

const outside = suite("directory: nothing outside");
outside("names and links that lead out are not followed", async () => {
  const root = tempPath("root");
  const secret = tempPath("secret");
  fs.mkdirSync(root);
  fs.mkdirSync(secret);
  fs.writeFileSync(join(secret, "file"), "secret");
  fs.writeFileSync(join(root, "inside"), "inside");
  fs.symlinkSync(join(secret, "file"), join(root, "out"));
  fs.symlinkSync(secret, join(root, "out-folder"));
  fs.symlinkSync(root, join(root, "loop"));
  fs.symlinkSync("inside", join(root, "link"));
  const face = nodeDirectory(root, { readOnly: false }).sync!;
  const list = face.list([]).filter(({ name }) => name !== ".");
  assert.equal(list.map(({ name, readOnly }) => `${name} ${readOnly}`).sort(), ["inside false", "link true"]);
  const into = new Uint8Array(6);
  for (const path of [["..", "x"], ["a/b"], ["out"], [""], ["out-folder", "file"]])
    assert.is(await codeOf(() => face.read(path, into, 0)), "ERR_DENIED", path.join("/"));
  assert.is(face.read(["link"], into, 0), 6);
  assert.is.not(await codeOf(() => face.write(["link"], into, 0)), "none");
  assert.is(await codeOf(() => face.createFile(["out-folder", "new"])), "ERR_DENIED");
  assert.is(await codeOf(() => face.rename(["inside"], ["out-folder", "new"])), "ERR_DENIED");
  // Turned round after it was listed.
  fs.unlinkSync(join(root, "link"));
  fs.symlinkSync(join(secret, "file"), join(root, "link"));
  face.flush();
  assert.is(await codeOf(() => face.read(["link"], into, 0)), "ERR_DENIED");
  assert.is(fs.readFileSync(join(secret, "file"), "utf8"), "secret");
  assert.equal(fs.readdirSync(secret), ["file"]);
  face.close();
});
outside.run();
