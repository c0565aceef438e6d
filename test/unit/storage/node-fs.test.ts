import { spawnSync } from "node:child_process";
import fs, { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { pathToFileURL } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../src/base/error.js";
import { nativeFiles } from "../../../src/storage/node-native.js";
import {
  createFileStorage,
  openFileStorage,
  openFileStorageAsync,
  type FileStorageOptions,
} from "../../../src/storage/node-fs.js";
import { rejects, storageSuite } from "../../conformance/storage-suite.js";
import { tempPath } from "../../support/temp.js";

let path = "";
const onFile = (options: FileStorageOptions) => (content: Uint8Array) => {
  writeFileSync((path = tempPath()), content);
  return openFileStorage(path, options);
};
const readBack = (): Uint8Array => new Uint8Array(readFileSync(path));
const holes = nativeFiles() !== null;

storageSuite("node file", ["sync", "async"], { make: onFile({}), readBack, writable: true, growable: true, holes });
storageSuite("node file, no native calls", ["sync", "async"], {
  make: onFile({ native: null }),
  readBack,
  writable: true,
  growable: true,
});
storageSuite("node file, read-only", ["sync", "async"], { make: onFile({ readOnly: true }), writable: false, growable: true });

const fails = (work: () => unknown): BlockError => {
  try {
    work();
  } catch (error) {
    assert.instance(error, BlockError);
    return error as BlockError;
  }
  throw new Error("expected a failure");
};

test("faces are there as declared", () => {
  const file = tempPath();
  const a = createFileStorage(file, { faces: "sync", locking: "off" });
  const b = openFileStorage(file, { faces: "async", locking: "off" });
  assert.ok(a.sync !== null && a.async === null);
  assert.ok(b.sync === null && b.async !== null);
  a.sync!.close();
  return b.async!.close();
});

test("what cannot be opened says why", async () => {
  const missing = tempPath("missing");
  let error = fails(() => openFileStorage(missing));
  assert.is(error.code, "ERR_NOT_FOUND");
  assert.is(error.message, `Could not open '${missing}': No such file or directory`);
  error = fails(() => createFileStorage(`${missing}/x`));
  assert.is(error.message, `Could not create '${missing}/x': No such file or directory`);
  await rejects(openFileStorageAsync(missing), "ERR_NOT_FOUND");

  const folder = tempPath("folder");
  mkdirSync(folder);
  assert.is(fails(() => openFileStorage(folder)).message, `Could not open '${folder}': Is a directory`);
  error = fails(() => openFileStorage(folder, { readOnly: true }));
  assert.is(error.message, `'file' driver requires '${folder}' to be a regular file`);

  assert.match(
    fails(() => openFileStorage("/dev/null", { only: "file", locking: "off" })).message,
    "'file' driver requires '/dev/null' to be a regular file",
  );
  assert.match(
    fails(() => openFileStorage(folder, { only: "host_device", readOnly: true })).message,
    "to be either a character or block device",
  );

  const loop = tempPath("loop");
  symlinkSync(loop, loop);
  assert.is(fails(() => openFileStorage(loop)).errno, "ELOOP");

  assert.is(fails(() => openFileStorage("")).code, "ERR_INVALID_ARGUMENT");
  assert.is(fails(() => openFileStorage("a\0b")).code, "ERR_INVALID_ARGUMENT");
  assert.is(fails(() => openFileStorage(new URL("http://host/x"))).code, "ERR_INVALID_ARGUMENT");
});

test("a fifo is refused at once", () => {
  const fifo = tempPath("fifo");
  if (spawnSync("mkfifo", [fifo]).status !== 0) return;
  assert.is(fails(() => openFileStorage(fifo, { readOnly: true })).code, "ERR_INVALID_ARGUMENT");
});

test("creating: exclusive or emptied", () => {
  const file = tempPath();
  const first = createFileStorage(pathToFileURL(file), { exclusive: true, size: 100000 });
  assert.is(first.sync!.size(), 100000);
  first.sync!.write(new Uint8Array([1, 2, 3]), 0);
  first.sync!.close();
  assert.is(fails(() => createFileStorage(file, { exclusive: true })).code, "ERR_EXISTS");
  const second = createFileStorage(file);
  assert.is(second.sync!.size(), 0);
  second.sync!.close();
});

test("devices without an end are refused, an empty one is empty", () => {
  if (process.platform !== "linux") return;
  assert.is(fails(() => openFileStorage("/dev/zero", { locking: "off" })).code, "ERR_UNSUPPORTED");
  const empty = openFileStorage("/dev/null", { locking: "off" });
  assert.ok(empty.device && empty.fixedSize);
  assert.is(empty.sync!.size(), 0);
  assert.is(fails(() => empty.sync!.write(new Uint8Array(512), 0)).errno, "ENOSPC");
  assert.is(fails(() => empty.sync!.truncate(512)).message, "Cannot grow device files");
  empty.sync!.close();
});

test("beyond what the file system can hold", () => {
  const file = createFileStorage(tempPath());
  const error = fails(() => file.sync!.truncate(2 ** 53 - 4096));
  assert.ok(["EFBIG", "EINVAL"].includes(error.errno), error.message);
  assert.match(error.message, /^Failed to resize file: /);
  assert.ok(["EFBIG", "EINVAL"].includes(fails(() => file.sync!.write(new Uint8Array(1), 2 ** 53 - 4096)).errno));
  file.sync!.close();
});

test("another program's growth is seen", () => {
  const name = tempPath();
  writeFileSync(name, "abc");
  const file = openFileStorage(name, { readOnly: true });
  writeFileSync(name, "abcdef");
  assert.is(file.sync!.size(), 6);
  file.sync!.close();
});

test("close waits for calls under way", async () => {
  const name = tempPath();
  writeFileSync(name, new Uint8Array(1 << 20).fill(7));
  const file = openFileStorage(name, { readOnly: true });
  const buffers = Array.from({ length: 20 }, () => new Uint8Array(1 << 20));
  const reads = buffers.map((into) => file.async!.read(into, 0));
  await file.async!.close();
  assert.equal(
    await Promise.all(reads),
    buffers.map(() => 1 << 20),
  );
  assert.ok(buffers.every((bytes) => bytes[12345] === 7));
});

test("a flush reaches the medium unless nothing can have changed since the last one that ended well", async () => {
  const { fdatasync, fdatasyncSync } = fs;
  let flushes = 0;
  let answers: ((error: Error | null) => void)[] | null = null;
  fs.fdatasyncSync = () => void flushes++;
  fs.fdatasync = ((_fd: number, done: (error: Error | null) => void) => {
    flushes++;
    if (answers === null) done(null);
    else answers.push(done);
  }) as typeof fs.fdatasync;
  syncBuiltinESMExports();
  try {
    const path = tempPath();
    writeFileSync(path, new Uint8Array(8192));
    const storage = openFileStorage(path);
    const sync = storage.sync!;
    const face = storage.async!;
    const needs = async (expected: number, what: string): Promise<void> => {
      flushes = 0;
      sync.flush();
      await face.flush();
      assert.is(flushes, expected, what);
    };
    await needs(1, "opened: others may have written before");
    await needs(0, "nothing since");
    sync.read(new Uint8Array(10), 0);
    await needs(0, "read");
    sync.write(new Uint8Array(10), 0);
    await needs(1, "write");
    await face.write(new Uint8Array(10), 0);
    await needs(1, "awaited write");
    sync.truncate(16384);
    await needs(1, "truncate");
    if (holes) {
      sync.writeZeroes!(0, 4096, {});
      await needs(1, "write-zeroes");
      await face.discard!(0, 4096);
      await needs(1, "discard");
      sync.allocate!(0, 4096);
      await needs(1, "allocate");
    }

    // Beside a flush that has not ended none is left out, and after one that failed neither.
    sync.write(new Uint8Array(10), 0);
    answers = [];
    flushes = 0;
    const failing = [face.flush(), face.flush()].map((flush) => rejects(flush, "ERR_INVALID_ARGUMENT"));
    sync.flush();
    assert.is(flushes, 3);
    for (const answer of answers) answer(Object.assign(new Error("EINVAL"), { code: "EINVAL" }));
    await Promise.all(failing);
    answers = null;
    await needs(1, "failed, on a file that may go on");

    // Nor does a flush count for a write that has not ended.
    const write = face.write(new Uint8Array(10), 0);
    await needs(2, "during a write");
    await write;
    await needs(1, "after it");

    sync.close();
  } finally {
    Object.assign(fs, { fdatasync, fdatasyncSync });
    syncBuiltinESMExports();
  }
});

test("holes survive and space is given back", () => {
  const native = nativeFiles();
  if (native === null) return;
  const name = tempPath();
  const file = createFileStorage(name, { size: 1 << 30 });
  const { extents, discard, allocate, allocatedSize, write, writeZeroes } = file.sync!;
  assert.equal(extents!(0, 1 << 30), [{ offset: 0, length: 1 << 30, data: false }]);
  assert.is(allocatedSize!(), 0);
  write(new Uint8Array(1 << 20).fill(1), 1 << 20);
  assert.is(statSync(name).blocks * 512, 1 << 20);
  writeZeroes!(1 << 20, 1 << 19, { mayUnmap: false });
  assert.is(statSync(name).blocks * 512, 1 << 20, "zeroed but kept");
  discard!(1 << 20, 1 << 20);
  assert.is(statSync(name).blocks, 0);
  allocate!(0, 1 << 20);
  assert.is(statSync(name).blocks * 512, 1 << 20);
  file.sync!.close();
});

test("a remembered run of data is forgotten when part of it goes", () => {
  if (nativeFiles() === null) return;
  for (const change of ["discard", "writeZeroes", "truncate"] as const) {
    const { extents, discard, truncate, write, writeZeroes, close } = createFileStorage(tempPath(), { faces: "sync" }).sync!;
    write(new Uint8Array(1 << 20).fill(1), 0);
    assert.equal(extents!(0, 1 << 20), [{ offset: 0, length: 1 << 20, data: true }]);
    if (change === "discard") discard!(1 << 18, 1 << 18);
    else if (change === "writeZeroes") writeZeroes!(1 << 18, 1 << 18, { mayUnmap: true });
    else {
      truncate(1 << 18);
      truncate(1 << 20);
    }
    assert.equal(extents!(1 << 18, 4096), [{ offset: 1 << 18, length: 4096, data: false }], change);
    close();
  }
});

test("a file that grows from nothing begins with a block of zeros where that is asked for", async () => {
  for (const face of ["sync", "async"] as const) {
    const file = createFileStorage(tempPath(), { firstBlock: true });
    await file[face]!.truncate(1 << 20);
    const [first] = file.sync!.extents!(0, 1 << 20);
    assert.ok(first!.data && first!.length <= 65536, `${face}: ${JSON.stringify(first)}`);
    const bytes = new Uint8Array(8192);
    file.sync!.read(bytes, 0);
    assert.ok(bytes.every((byte) => byte === 0));
    assert.is(file.sync!.size(), 1 << 20);
    await file[face]!.truncate(100);
    assert.is(file.sync!.size(), 100);
    file.sync!.close();
  }
});

test("without native calls an empty file is a hole and others count as data", () => {
  const name = tempPath();
  const file = createFileStorage(name, { size: 1 << 20, native: null });
  assert.equal(file.sync!.extents!(0, 1 << 20), [{ offset: 0, length: 1 << 20, data: false }]);
  file.sync!.write(new Uint8Array([1]), 0);
  assert.equal(file.sync!.extents!(100, 1000), [{ offset: 100, length: 1000, data: true }]);
  assert.is(fails(() => file.sync!.discard!(0, 10)).code, "ERR_UNSUPPORTED");
  file.sync!.close();
});

test.run();
