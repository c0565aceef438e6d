/** Descriptors that were inherited: sets of them, and files opened by "/dev/fdset/N". */
import { closeSync, constants, fstatSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { read } from "../../../src/block/io.js";
import { openNode } from "../../../src/block/open.js";
import { runAsync } from "../../../src/block/op.js";
import { addDescriptor } from "../../../src/cli/add-fd.js";
import { nodeEnvironment } from "../../../src/platform/node-environment.js";
import { BlockCore } from "../../../src/qmp/block-core.js";
import { descriptorSets } from "../../../src/storage/node-descriptors.js";
import { createFileStorage, openFileStorage } from "../../../src/storage/node-fs.js";

const dir = mkdtempSync(join(tmpdir(), "blockcore-fds-"));
process.on("exit", () => rmSync(dir, { recursive: true, force: true }));

const file = (name: string, content: Uint8Array | string): string => {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
};
const isOpen = (fd: number): boolean => {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
};

test("a name in /dev/fdset is the descriptor of the set that was opened for what is wanted", () => {
  assert.throws(
    () => openFileStorage("/dev/fdset/5"),
    /^Could not open '\/dev\/fdset\/5': Could not dup FD for \/dev\/fdset\/5 flags 2: Operation not supported$/,
  );
  const path = file("a", "hello");
  const reading = openSync(path, constants.O_RDONLY);
  const writing = openSync(path, constants.O_RDWR);
  addDescriptor(`fd=${reading},set=5,opaque=r:a`);
  assert.throws(() => openFileStorage("/dev/fdset/6"), /flags 2: No such file or directory$/);
  assert.throws(() => openFileStorage("/dev/fdset/5"), /flags 2: Permission denied$/);
  const reader = openFileStorage("/dev/fdset/5", { readOnly: true });
  addDescriptor(`fd=${writing},set=5`);
  const writer = openFileStorage("/dev/fdset/5", { locking: "off" });
  writer.sync!.write(new TextEncoder().encode("HE"), 0);
  const into = new Uint8Array(5);
  assert.is(reader.sync!.read(into, 0), 5);
  assert.is(new TextDecoder().decode(into), "HEllo");
  // Closing gives back what was borrowed.
  writer.sync!.close();
  assert.ok(isOpen(writing));
  // What has left its set is closed when the last user has gone.
  assert.ok(descriptorSets.remove(5));
  assert.not.ok(isOpen(writing));
  assert.ok(isOpen(reading));
  assert.is(reader.sync!.read(into, 0), 5);
  reader.sync!.close();
  assert.not.ok(isOpen(reading));
  assert.not.ok(descriptorSets.remove(5));
});

test("a file that is made is emptied; one whose opening fails stays as it was", () => {
  const fd = openSync(file("b", "content"), constants.O_RDWR);
  descriptorSets.add(fd, 1);
  assert.throws(() => openFileStorage("/dev/fdset/1", { only: "host_device" }), /device/);
  assert.ok(isOpen(fd));
  createFileStorage("/dev/fdset/1", { size: 10 }).sync!.close();
  assert.equal(readFileSync(join(dir, "b")), Buffer.alloc(10));
  descriptorSets.remove(1);
});

test("what is no descriptor is refused in QEMU's words", () => {
  const fd = openSync(file("c", ""), constants.O_RDONLY);
  descriptorSets.add(fd, 0);
  for (const [text, message] of [
    ["fd=1,set=1", "fd cannot be a standard I/O stream"],
    [`fd=${fd},set=1`, "fd is not valid or already in use"],
    ["fd=999,set=1", "fd is not valid or already in use"],
    ["set=1", "fd option is required and must be non-negative"],
    ["fd=7", "set option is required and must be non-negative"],
    ["fd=7,set=-1", "set option is required and must be non-negative"],
    ["fd=7,set=1,name=x", "Invalid parameter 'name'"],
  ] as const)
    assert.throws(
      () => addDescriptor(text),
      (error: Error) => error.message === message,
    );
  descriptorSets.remove(0);
});

test("by QMP: listed, removed, opened; closed files are no longer there", async () => {
  const [a, b, c] = ["d", "e", "f"].map((name) => openSync(file(name, name.repeat(512)), constants.O_RDONLY));
  descriptorSets.add(a!, 1, "d:r");
  descriptorSets.add(b!, 3);
  descriptorSets.add(c!, 1);
  const core = new BlockCore({ environment: nodeEnvironment() });
  assert.equal(await core.execute("query-fdsets"), [
    { "fdset-id": 3, fds: [{ fd: b }] },
    { "fdset-id": 1, fds: [{ fd: a, opaque: "d:r" }, { fd: c }] },
  ]);
  const refused = (args: { "fdset-id": number; fd?: number }): Promise<string> =>
    core.execute("remove-fd", args).then(
      () => "removed",
      (error: Error) => error.message,
    );
  assert.is(await refused({ "fdset-id": 2 }), "File descriptor named 'fdset-id:2' not found");
  assert.is(await refused({ "fdset-id": 3, fd: a! }), `File descriptor named 'fdset-id:3, fd:${a}' not found`);
  const node = await runAsync(openNode(nodeEnvironment(), { filename: "/dev/fdset/1", driver: "raw" }));
  const into = new Uint8Array(512);
  await runAsync(read(node, into, 0));
  assert.ok(into.every((byte) => byte === 0x64));
  assert.is(await refused({ "fdset-id": 1, fd: a! }), "removed");
  await runAsync(read(node, into, 0));
  await runAsync(node.unref());
  assert.not.ok(isOpen(a!));
  assert.equal(((await core.execute("query-fdsets")) as unknown[]).length, 2);
  assert.is(await refused({ "fdset-id": 1 }), "removed");
  assert.is(await refused({ "fdset-id": 3 }), "removed");
  assert.equal(await core.execute("query-fdsets"), []);
  await core.close();
  for (const fd of [b!, c!]) assert.throws(() => closeSync(fd), /EBADF/);
});

test.run();
