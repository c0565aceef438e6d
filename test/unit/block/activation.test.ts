/** Images handed over between two openers, as live migration does it. */
import { writeFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { allFormats } from "../../../src/platform/all-formats.js";
import { toBlockError } from "../../../src/base/error.js";
import { activate, inactivate } from "../../../src/block/activation.js";
import { READ_WRITE } from "../../../src/block/flags.js";
import * as io from "../../../src/block/io.js";
import { addBitmap, findBitmap, getBitmap } from "../../../src/block/named-bitmap.js";
import type { Node } from "../../../src/block/node.js";
import { openNode } from "../../../src/block/open.js";
import { runAsync, type Op } from "../../../src/block/op.js";
import { setWritable } from "../../../src/block/reopen.js";
import { checkImage } from "../../../src/image/check.js";
import { nodeEnvironment } from "../../../src/platform/node-environment.js";
import { tempPath } from "../../support/temp.js";
import { makeWorld, MODES, type World } from "../../support/world.js";

const MiB = 1024 * 1024;
const fill = (node: Node, value: number, offset: number, length = 4096): Op<void> =>
  io.write(node, new Uint8Array(length).fill(value), offset);
function* first(node: Node, offset: number): Op<number> {
  return (yield* io.readBytes(node, offset, 1))[0]!;
}
async function refusal(w: World, work: Op<unknown>): Promise<string> {
  try {
    await w.run(work);
  } catch (error) {
    return toBlockError(error).message;
  }
  return "";
}

for (const mode of MODES) {
  const handover = suite(`handing over, ${mode}`);
  const world = (): World => makeWorld({ mode, drivers: allFormats, seed: 3 });

  for (const driver of ["raw", "qcow2", "qed", "qcow", "vdi", "vmdk", "vpc", "vhdx", "parallels"]) {
    handover(`${driver}: there and back, each reads what the other wrote`, async () => {
      const w = world();
      await w.create(driver, "image", 4 * MiB);
      const a = await w.open(driver, "image");
      const b = await w.open(driver, "image", { write: true, inactive: true });
      assert.ok(b.readOnly);
      assert.not.ok(b.staysReadOnly);
      await w.run(fill(a, 1, 0));
      assert.match(await refusal(w, fill(b, 9, 0)), "inactive");
      await w.run(inactivate([a]));
      const before = w.bytes("image");
      assert.match(await refusal(w, fill(a, 9, 0)), "inactive");
      await w.run(activate([b]));
      assert.is(await w.run(first(b, 0)), 1);
      await w.run(fill(b, 2, 0));
      await w.run(fill(b, 3, 3 * MiB));
      await w.run(inactivate([b]));
      await w.run(activate([a]));
      assert.is(await w.run(first(a, 0)), 2);
      assert.is(await w.run(first(a, 3 * MiB)), 3);
      await w.run(fill(a, 4, MiB));
      await w.run(inactivate([a]));
      const after = w.bytes("image");
      assert.not.equal(after, before);
      // Closing what is inactive leaves the image as it is.
      await w.close(a);
      await w.close(b);
      assert.equal(w.bytes("image"), after);
      const image = await w.open(driver, "image");
      assert.is(await w.run(first(image, MiB)), 4);
      await w.close(image);
      if (driver !== "qcow2") return;
      const checked = await w.open(driver, "image", { check: true });
      const result = await w.run(checkImage(checked));
      assert.is((result.corruptions ?? 0) + (result.leaks ?? 0), 0);
      await w.close(checked);
    });
  }

  handover("bitmaps of the image go with it, others stay, those on their way are left alone", async () => {
    const w = world();
    await w.create("qcow2", "image", 4 * MiB);
    const a = await w.open("qcow2", "image");
    const b = await w.open("qcow2", "image", { write: true, inactive: true });
    for (const name of ["stored", "migrating"]) addBitmap(a, { name, persistent: true });
    addBitmap(a, { name: "passing" });
    await w.run(fill(a, 1, MiB));
    getBitmap(a, "migrating").skipStore = true;
    await w.run(inactivate([a]));
    assert.equal(a.bitmaps.map(({ name }) => name).sort(), ["migrating", "passing"]);
    assert.equal(b.bitmaps, []);
    await w.run(activate([b]));
    assert.equal(
      b.bitmaps.map(({ name }) => name),
      ["stored"],
    );
    const stored = await w.run(getBitmap(b, "stored").load());
    assert.equal([...stored.runs()], [{ offset: MiB, length: 65536 }]);
    await w.run(fill(b, 1, 2 * MiB));
    await w.run(inactivate([b]));
    await w.run(activate([a]));
    assert.equal(a.bitmaps.map(({ name }) => name).sort(), ["migrating", "passing", "stored"]);
    assert.is([...(await w.run(getBitmap(a, "stored").load())).runs()].length, 2);
    const back = getBitmap(a, "migrating");
    assert.not.ok(back.skipStore || back.readOnly);
    await w.close(a);
    await w.close(b);
    const image = await w.open("qcow2", "image");
    assert.ok(findBitmap(image, "migrating") !== null && findBitmap(image, "stored") !== null);
    await w.close(image);
  });

  handover("a chain: the backing file is read again, too, and stays read-only", async () => {
    const w = world();
    await w.create("qcow2", "base", 4 * MiB);
    await w.create("qcow2", "top", 4 * MiB, { backing_file: "base", backing_fmt: "qcow2" });
    const top = await w.open("qcow2", "top", { write: true, inactive: true });
    const base = await w.open("qcow2", "base");
    await w.run(fill(base, 7, MiB));
    await w.close(base);
    await w.run(activate([top]));
    assert.is(await w.run(first(top, MiB)), 7);
    assert.not.ok(top.readOnly);
    assert.ok(top.backing!.readOnly);
    assert.is(top.backing!.inactive, null);
    await w.close(top);
  });

  handover("what a job works on is not handed over", async () => {
    const w = world();
    await w.create("qcow2", "image", MiB);
    const node = await w.open("qcow2", "image");
    const job = Symbol("job");
    node.blockers.set(job, "block device is in use by block job: backup");
    assert.match(await refusal(w, inactivate([node])), "in use by block job: backup");
    assert.is(node.inactive, null);
    node.blockers.delete(job);
    await w.close(node);
  });

  handover("an image that is none any more: the node stays inactive and can be taken up when it is one again", async () => {
    const w = world();
    await w.create("qcow2", "image", MiB);
    const node = await w.open("qcow2", "image", { write: true, inactive: true });
    const file = w.files.get("image")!;
    const good = w.bytes("image").slice(0, 4);
    file.sync!.write(new Uint8Array(4), 0);
    assert.is.not(await refusal(w, activate([node])), "");
    assert.ok(node.inactive !== null && node.readOnly);
    file.sync!.write(good, 0);
    await w.run(activate([node]));
    await w.run(fill(node, 1, 0));
    await w.close(node);
  });

  handover("write access given or taken meanwhile is that of the time after", async () => {
    const w = world();
    await w.create("qcow2", "image", MiB);
    const node = await w.open("qcow2", "image", { write: true, inactive: true });
    await w.run(setWritable(node, false));
    assert.ok(node.staysReadOnly);
    await w.run(activate([node]));
    assert.ok(node.readOnly);
    await w.close(node);
  });
  handover.run();
}

const files = suite("handing over files");
files("locks: an inactive node has none, the other takes them", async () => {
  const environment = nodeEnvironment();
  const path = tempPath("handover.raw");
  const open = (flags: { inactive?: true }): Promise<Node> =>
    runAsync(
      openNode(environment, {
        options: { driver: "raw", file: { driver: "file", filename: path } },
        flags: { ...READ_WRITE, ...flags },
      }),
    );
  writeFileSync(path, new Uint8Array(4096));
  const a = await open({});
  const locked = await open({}).then(
    () => "opened",
    (error: unknown) => toBlockError(error).message,
  );
  assert.match(locked, "Failed to get");
  const b = await open({ inactive: true });
  assert.match(
    await runAsync(activate([b])).then(
      () => "active",
      (error: unknown) => toBlockError(error).message,
    ),
    "Failed to get",
  );
  await runAsync(inactivate([a]));
  await runAsync(activate([b]));
  await runAsync(fill(b, 5, 0, 512));
  await runAsync(b.unref());
  await runAsync(activate([a]));
  assert.is(await runAsync(first(a, 0)), 5);
  await runAsync(a.unref());
});
files.run();
