import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../src/base/error.js";
import { createFileStorage, openFileStorage, type FileStorageOptions } from "../../../src/storage/node-fs.js";
import { Permission } from "../../../src/storage/node-locks.js";
import { nativeFiles } from "../../../src/storage/node-native.js";
import { tempPath } from "../../support/temp.js";

const WRITE = 'Failed to get "write" lock';
const SHARED_WRITE = 'Failed to get shared "write" lock';

function makeFile(): string {
  const path = tempPath("image");
  createFileStorage(path, { size: 1 << 20 }).sync!.close();
  return path;
}

/** The message of the failure to open, or null. */
function tryOpen(path: string, options: FileStorageOptions): string | null {
  try {
    openFileStorage(path, options).sync!.close();
    return null;
  } catch (error) {
    assert.instance(error, BlockError);
    const failure = error as BlockError;
    assert.is(failure.code, "ERR_BUSY");
    assert.is(failure.hint, `Is another process using the image [${path}]?`);
    return failure.message;
  }
}

const native = nativeFiles();
const modes: [string, FileStorageOptions][] = [["process", { native: null }]];
if (native !== null) modes.push(["ofd", {}]);

for (const [mode, options] of modes) {
  test(`${mode}: one writer or many readers`, () => {
    const path = makeFile();
    const writer = openFileStorage(path, options);
    assert.is(writer.locking, mode);
    assert.is(tryOpen(path, options), WRITE);
    assert.is(tryOpen(path, { ...options, readOnly: true }), SHARED_WRITE);
    assert.is(tryOpen(path, { ...options, readOnly: true, forceShare: true }), null);
    assert.is(tryOpen(path, { ...options, locking: "off" }), null);
    writer.sync!.close();
    const readers = [1, 2, 3].map(() => openFileStorage(path, { ...options, readOnly: true }));
    assert.is(tryOpen(path, options), WRITE);
    for (const reader of readers) reader.sync!.close();
    assert.is(tryOpen(path, options), null);
  });

  test(`${mode}: permissions change, and stay when they cannot`, () => {
    const path = makeFile();
    const all = Permission.all;
    const a = openFileStorage(path, { ...options, permissions: Permission.consistentRead, shared: all });
    const b = openFileStorage(path, { ...options, permissions: Permission.write, shared: all });
    assert.throws(
      () => a.setPermissions(Permission.consistentRead, all & ~Permission.write),
      (error: BlockError) => error.message === SHARED_WRITE,
    );
    b.setPermissions(Permission.consistentRead, all);
    a.setPermissions(Permission.consistentRead, all & ~Permission.write);
    assert.throws(
      () => b.setPermissions(Permission.write, all),
      (error: BlockError) => error.message === WRITE,
    );
    a.setPermissions(0, all);
    b.setPermissions(Permission.write, all);
    a.sync!.close();
    b.sync!.close();
  });

  test(`${mode}: reopening passes the locks on`, () => {
    const path = makeFile();
    const reader = openFileStorage(path, { ...options, readOnly: true });
    const writer = reader.reopen(false);
    reader.sync!.close();
    writer.sync!.write(new Uint8Array([5]), 0);
    assert.is(tryOpen(path, { ...options, readOnly: true }), SHARED_WRITE);
    const again = writer.reopen(true);
    writer.sync!.close();
    assert.is(tryOpen(path, { ...options, readOnly: true }), null);
    const other = openFileStorage(path, { ...options, readOnly: true });
    assert.throws(
      () => again.reopen(false),
      (error: BlockError) => error.message === WRITE,
    );
    other.sync!.close();
    assert.is(tryOpen(path, options), WRITE, "the failed reopen kept the lock");
    again.sync!.close();
  });

  test(`${mode}: a failed open leaves no lock`, () => {
    const path = makeFile();
    const reader = openFileStorage(path, { ...options, readOnly: true });
    for (let i = 0; i < 3; i++) assert.is(tryOpen(path, options), WRITE);
    reader.sync!.close();
    assert.is(tryOpen(path, options), null);
  });
}

test("force-share is for readers", () => {
  const path = makeFile();
  assert.throws(
    () => openFileStorage(path, { forceShare: true }),
    (error: BlockError) => error.code === "ERR_INVALID_ARGUMENT",
  );
});

test("locking=on without the means is an error", () => {
  const path = makeFile();
  assert.throws(
    () => openFileStorage(path, { locking: "on", native: null }),
    (error: BlockError) => error.code === "ERR_UNSUPPORTED",
  );
});

const haveQemu = process.platform === "linux" && spawnSync("qemu-io", ["--version"]).status === 0;

/** A qemu-io that holds the image until its stdin ends. */
async function holdWithQemu(path: string, ...args: string[]): Promise<ChildProcess> {
  const child = spawn("qemu-io", ["-f", "qcow2", ...args, path], { stdio: ["pipe", "pipe", "inherit"] });
  child.stdin!.write("length\n");
  await once(child.stdout!, "data");
  return child;
}
async function letGo(child: ChildProcess): Promise<void> {
  child.stdin!.end();
  await once(child, "exit");
}

if (haveQemu) {
  for (const [mode, options] of modes) {
    test(`${mode}: QEMU's locks are respected`, async () => {
      const path = tempPath("qemu.qcow2");
      assert.is(spawnSync("qemu-img", ["create", "-q", "-f", "qcow2", path, "1M"]).status, 0);
      const writer = await holdWithQemu(path);
      assert.is(tryOpen(path, options), WRITE);
      assert.is(tryOpen(path, { ...options, readOnly: true }), SHARED_WRITE);
      assert.is(tryOpen(path, { ...options, readOnly: true, forceShare: true }), null);
      await letGo(writer);
      const reader = await holdWithQemu(path, "-r");
      assert.is(tryOpen(path, options), WRITE);
      assert.is(tryOpen(path, { ...options, readOnly: true }), null);
      await letGo(reader);
      assert.is(tryOpen(path, options), null);
    });
  }

  if (native !== null) {
    test("QEMU respects ours, with the same words", () => {
      const path = tempPath("ours.qcow2");
      assert.is(spawnSync("qemu-img", ["create", "-q", "-f", "qcow2", path, "1M"]).status, 0);
      const info = (...args: string[]): string => spawnSync("qemu-img", ["info", ...args, path], { encoding: "utf8" }).stderr;
      const writeTo = (): string => spawnSync("qemu-io", ["-c", "write 0 512", path], { encoding: "utf8" }).stderr;
      const writer = openFileStorage(path);
      assert.match(info(), SHARED_WRITE);
      assert.match(info(), `Is another process using the image [${path}]?`);
      assert.is(info("-U"), "");
      assert.match(writeTo(), WRITE);
      const locks = readFileSync("/proc/locks", "latin1")
        .split("\n")
        .filter((line) => line.includes("OFDLCK"));
      assert.ok(locks.length > 0);
      writer.sync!.close();
      const reader = openFileStorage(path, { readOnly: true });
      assert.is(info(), "");
      assert.match(writeTo(), WRITE);
      reader.sync!.close();
      assert.is(writeTo(), "");
    });
  }
}

test.run();
