/** Creating images over files of the host. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openNode } from "../../../src/block/open.js";
import { runSync } from "../../../src/block/op.js";
import { createImage } from "../../../src/image/create.js";
import { create } from "../../../src/node.js";
import { allowAll, nodeEnvironment } from "../../../src/platform/node-environment.js";
import { skip } from "../../support/skip.js";

test("an image that somebody else is using stays when creating over it fails", () => {
  const environment = nodeEnvironment({ gate: allowAll, faces: "sync" });
  const dir = mkdtempSync(join(tmpdir(), "blockcore-create-"));
  try {
    const filename = join(dir, "a.qcow2");
    runSync(createImage(environment, { filename, format: "qcow2", size: 1 << 20 }));
    const before = readFileSync(filename);
    const user = runSync(openNode(environment, { filename, flags: { write: true } }));
    let failure: Error | null = null;
    try {
      runSync(createImage(environment, { filename, format: "qcow2", size: 1 << 21 }));
    } catch (error) {
      failure = error as Error;
    }
    runSync(user.unref());
    if (failure === null) return skip("files are not locked on this platform");
    assert.match(failure.message, "lock");
    assert.equal(readFileSync(filename), before);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("an overlay of an image that somebody else is writing to", () => {
  const environment = nodeEnvironment({ gate: allowAll, faces: "sync" });
  const dir = mkdtempSync(join(tmpdir(), "blockcore-create-"));
  try {
    const filename = join(dir, "a.qcow2");
    runSync(createImage(environment, { filename, format: "qcow2", size: 1 << 20 }));
    const user = runSync(openNode(environment, { filename, flags: { write: true } }));
    const backing = { backingFile: filename, backingFormat: "qcow2" };
    runSync(createImage(environment, { filename: join(dir, "b.qcow2"), format: "qcow2", ...backing }));
    runSync(user.unref());
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("a wrong option costs nobody the image that has the name already", () => {
  const environment = nodeEnvironment({ gate: allowAll, faces: "sync" });
  const dir = mkdtempSync(join(tmpdir(), "blockcore-create-"));
  try {
    const filename = join(dir, "old");
    const wrong: [format: string, ...options: [name: string, value: string][]][] = [
      ["raw", ["preallocation", "metadata"]],
      ["qcow2", ["cluster_size", "1000"]],
      ["qcow2", ["refcount_bits", "3"]],
      ["qcow2", ["encrypt.format", "luks"]],
      ["qcow", ["encrypt.format", "luks"]],
      ["qed", ["table_size", "3"]],
      ["vdi", ["preallocation", "full"]],
      ["vpc", ["subformat", "thin"]],
      ["vhdx", ["block_size", "3145728"]],
      ["vmdk", ["adapter_type", "scsi"]],
      ["vmdk", ["subformat", "monolithicFlat"], ["zeroed_grain", "on"]],
      ["parallels", ["cluster_size", "3221225472"]],
      ["luks", ["key-secret", "nobody"]],
    ];
    for (const [format, ...pairs] of wrong) {
      writeFileSync(filename, "an image");
      const options = pairs.map(([name, value]) => ({ name, value }));
      assert.throws(() => runSync(createImage(environment, { filename, format, size: 1 << 20, options })));
      assert.is(readFileSync(filename, "latin1"), "an image", format);
      assert.equal(readdirSync(dir), ["old"]);
    }
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("no overlay of a broken chain, and none in the place of a file of the chain; -u makes it nevertheless", async () => {
  const environment = nodeEnvironment({ gate: allowAll, faces: "sync" });
  const dir = mkdtempSync(join(tmpdir(), "blockcore-create-"));
  const path = (name: string): string => join(dir, name);
  const make = (name: string, backing?: string, unsafe = false): void => {
    const size = backing === undefined || unsafe ? { size: 1 << 20 } : {};
    const below = backing === undefined ? {} : { backingFile: path(backing), backingFormat: "qcow2", unsafe };
    runSync(createImage(environment, { filename: path(name), format: "qcow2", ...size, ...below }));
  };
  try {
    make("base");
    make("mid", "base");
    make("top", "mid");
    const before = readFileSync(path("base"));
    assert.throws(() => make("base", "top"), "same filename as the backing file of the backing file");
    assert.equal(readFileSync(path("base")), before);
    // Who may not follow what images name knows of the named one only.
    await create(path("other"), { format: "qcow2", backing: path("top"), backingFormat: "qcow2" });
    rmSync(path("base"));
    assert.throws(() => make("new", "top"), "Could not open backing file");
    assert.equal(readdirSync(dir).sort(), ["mid", "other", "top"]);
    make("new", "top", true);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("a file that did not become an image does not stay", () => {
  const environment = nodeEnvironment({ gate: allowAll, faces: "sync" });
  const dir = mkdtempSync(join(tmpdir(), "blockcore-create-"));
  try {
    const filename = join(dir, "a.qcow2");
    const options = [{ name: "data_file", value: join(dir, "missing", "data") }];
    assert.throws(() => runSync(createImage(environment, { filename, format: "qcow2", size: 1 << 20, options })), "missing");
    assert.throws(() => readFileSync(filename), "ENOENT");
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("a file without a format in it", () => {
  const environment = nodeEnvironment({ gate: allowAll, faces: "sync" });
  const dir = mkdtempSync(join(tmpdir(), "blockcore-create-"));
  try {
    const filename = join(dir, "a");
    let line = "";
    const onFormatting = (text: string): void => void (line = text);
    runSync(createImage(environment, { filename, format: "file", size: 1 << 20, onFormatting }));
    assert.is(line, `Formatting '${filename}', fmt=file size=1048576`);
    assert.is(readFileSync(filename).length, 1 << 20);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test.run();
