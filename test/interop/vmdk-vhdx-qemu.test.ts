// time-limit: 240 s
/** What only VMDK and VHDX have, with the real qemu-img and qemu-io: subformats, descriptors, streams, overlays, the log. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createImage } from "../../src/block/create.js";
import { flush, read, write } from "../../src/block/io.js";
import { openNode } from "../../src/block/open.js";
import { runAsync } from "../../src/block/op.js";
import { convertImage } from "../../src/image/convert-image.js";
import { ImageReader } from "../../src/image/reader.js";
import { allowAll, nodeEnvironment } from "../../src/platform/node-environment.js";
import { writeOva } from "../../src/library/ova.js";
import { createFileStorage } from "../../src/storage/node-fs.js";
import { hasQemu, optionText, qemu, type Options } from "../support/qemu.js";
import { chooseSeed, random } from "../support/random.js";
import { skip } from "../support/skip.js";
import { change, create, folder, go, judge, MiB, openImage, sparseSource } from "./qemu-images.js";

const environment = nodeEnvironment({ faces: "sync", gate: allowAll });
const seed = chooseSeed();
const vmdk = { driver: "vmdk", check: true };
const vhdx = { driver: "vhdx", check: true };

const subformats: readonly { driver: string; options: Options }[] = [
  { driver: "vmdk", options: {} },
  { driver: "vmdk", options: { zeroed_grain: true, adapter_type: "lsilogic", hwversion: "12", toolsversion: "9" } },
  { driver: "vmdk", options: { subformat: "monolithicFlat", compat6: true } },
  { driver: "vmdk", options: { subformat: "twoGbMaxExtentSparse" } },
  { driver: "vmdk", options: { subformat: "twoGbMaxExtentSparse", zeroed_grain: true, adapter_type: "legacyESX" } },
  { driver: "vmdk", options: { subformat: "twoGbMaxExtentFlat", adapter_type: "buslogic" } },
  { driver: "vmdk", options: { subformat: "streamOptimized" } },
  { driver: "vhdx", options: {} },
  { driver: "vhdx", options: { block_size: MiB, block_state_zero: false } },
  { driver: "vhdx", options: { subformat: "fixed", block_size: 2 * MiB } },
];

for (const { driver, options } of subformats.filter((kind) => kind.driver === "vmdk")) {
  for (const size of [0, 512, 5 * MiB + 1536, 5 * 1024 * MiB]) {
    test(`${driver} ${JSON.stringify(options)} of ${size} bytes is created as qemu-img creates it`, () => {
      if (!hasQemu) return skip("qemu-img is not installed");
      const [ours, theirs] = [folder(), folder()];
      create(driver, join(ours, "image.vmdk"), size, options);
      qemu("qemu-img", "create", "-q", "-f", driver, ...optionText(options), join(theirs, "image.vmdk"), String(size));
      assert.equal(readdirSync(ours).sort(), readdirSync(theirs).sort());
      for (const name of readdirSync(ours)) {
        if (size > 64 * MiB && name.includes("-f")) continue;
        // Content IDs are random, and may have any number of digits; in embedded descriptors zeros follow.
        const blank = (path: string): string =>
          readFileSync(join(path, name))
            .toString("latin1")
            .replace(/\nCID=[0-9a-f]+/, "\nCID=?")
            .replace(/\0+/g, "\0");
        assert.is(blank(ours), blank(theirs), name);
      }
    });
  }
}

for (const options of [
  {},
  { block_size: MiB, log_size: 2 * MiB },
  { block_size: 256 * MiB, block_state_zero: false },
  { block_size: 32 * MiB, log_size: 3 * MiB },
  { subformat: "fixed" },
]) {
  test(`vhdx ${JSON.stringify(options)}: qemu-img sees what it would have made`, () => {
    if (!hasQemu) return skip("qemu-img is not installed");
    for (const size of [512, 40 * MiB, 3 * 1024 * MiB + 512]) {
      if (size > 100 * MiB && "subformat" in options) continue;
      const path = folder();
      const [ours, theirs] = [join(path, "ours.vhdx"), join(path, "theirs.vhdx")];
      create("vhdx", ours, size, options);
      qemu("qemu-img", "create", "-q", "-f", "vhdx", ...optionText(options), theirs, String(size));
      const info = (image: string): Record<string, unknown> => {
        const {
          filename: _,
          "actual-size": __,
          ...rest
        } = JSON.parse(qemu("qemu-img", "info", "--output=json", image)) as Record<string, unknown>;
        return rest;
      };
      assert.equal(info(ours), info(theirs));
    }
  });
}

test("qemu-img reads the streamOptimized images we write, compressed in parallel", async () => {
  if (!hasQemu) return skip("qemu-img is not installed");
  const both = nodeEnvironment({ gate: allowAll });
  const chance = random(seed + 2);
  const image = join(folder(), "image.vmdk");
  const size = 7 * MiB + 1024;
  const model = new Uint8Array(size);
  for (let i = 0; i < 5; i++) model.set(chance.bytes(100_000), chance.int(size - 100_000));
  await runAsync(
    createImage(both, { driver: both.drivers.get("vmdk")!, filename: image, size, options: { subformat: "streamOptimized" } }),
  );
  const node = await runAsync(openNode(both, { driver: "vmdk", filename: image, flags: { write: true } }));
  const step = 16 * 65536;
  for (let at = 0; at < size; at += step)
    await runAsync(write(node, model.subarray(at, Math.min(size, at + step)), at, { compressed: true }));
  await runAsync(node.unref());
  judge(vmdk, image, model);
  const again = await runAsync(openNode(both, { driver: "vmdk", filename: image }));
  const bytes = new Uint8Array(size);
  await runAsync(read(again, bytes, 0));
  assert.is(Buffer.compare(bytes, model), 0);
  await runAsync(again.unref());
});

test("qemu-img reads the streams we write in one pass, and tar unpacks our OVAs", async () => {
  if (!hasQemu) return skip("qemu-img is not installed");
  const both = nodeEnvironment({ gate: allowAll });
  const chance = random(seed + 5);
  const path = folder();
  const model = new Uint8Array(40 * MiB + 512);
  for (let i = 0; i < 5; i++) model.set(chance.bytes(100_000), chance.int(model.length - 100_000));
  writeFileSync(join(path, "source.raw"), model);
  const source = await runAsync(openNode(both, { driver: "raw", filename: join(path, "source.raw") }));
  const ova = join(path, "vm.ova");
  const target = createFileStorage(ova, {});
  await writeOva(new ImageReader(source), target, { name: "vm" });
  await target.async!.close();
  await runAsync(source.unref());
  qemu("tar", "-xf", ova, "-C", path);
  judge(vmdk, join(path, "vm-disk1.vmdk"), model);
  const info = JSON.parse(qemu("qemu-img", "info", "--output=json", join(path, "vm-disk1.vmdk"))) as {
    "format-specific": { data: Record<string, unknown> };
  };
  assert.is(info["format-specific"].data["create-type"], "streamOptimized");
  qemu("sha256sum", "--version");
  const sums = readFileSync(join(path, "vm.mf"), "utf8").replace(/SHA256\((.*)\)= (.*)/g, "$2  $1");
  const check = spawnSync("sha256sum", ["-c", "--status", "-"], { cwd: path, input: sums });
  assert.is(check.status, 0, "the manifest");
});

test("qemu-img replays the log that we leave when we are killed", () => {
  if (!hasQemu) return skip("qemu-img is not installed");
  const chance = random(seed + 6);
  const path = folder();
  const [image, killed] = [join(path, "image.vhdx"), join(path, "killed.vhdx")];
  create("vhdx", image, 20 * MiB, { block_size: MiB });
  const node = openImage("vhdx", image, true);
  const model = new Uint8Array(20 * MiB);
  for (let round = 0; round < 4; round++) {
    change(node, model, chance, 5);
    go(flush(node));
    // As the file is now, without its end of session; and with the table as it was before it, which only the log makes good.
    for (const spoilTable of [false, true]) {
      const bytes = readFileSync(image);
      if (spoilTable && round === 0) bytes.fill(0, 2 * MiB, 2 * MiB + 4096);
      writeFileSync(killed, bytes);
      qemu("qemu-img", "check", "-q", "-f", "vhdx", "-r", "all", killed);
      judge(vhdx, killed, model);
    }
  }
  go(node.unref());
  judge(vhdx, image, model);
});

test("convert to every subformat, also to streamOptimized without being asked to compress", () => {
  if (!hasQemu) return skip("qemu-img is not installed");
  const path = folder();
  const source = join(path, "source.raw");
  const content = sparseSource(source, random(seed + 4), 9 * MiB + 1536);
  for (const { driver, options } of subformats) {
    const target = join(folder(), `image.${driver}`);
    const opts = Object.entries(options).map(([name, value]) => ({
      name,
      value: value === true ? "on" : value === false ? "off" : String(value),
    }));
    go(
      convertImage(environment, {
        sources: [{ filename: source, format: "raw" }],
        target: { filename: target, format: driver },
        options: opts,
      }),
    );
    judge({ driver, check: true }, target, content);
  }
});

test("overlays: qemu's over ours and ours over qemu's; a parent that changed is refused by both", () => {
  if (!hasQemu) return skip("qemu-img is not installed");
  const chance = random(seed + 3);
  for (const theirs of [true, false]) {
    const path = folder();
    const [base, top] = [join(path, "base.vmdk"), join(path, "top.vmdk")];
    const size = 4 * MiB;
    const model = new Uint8Array(size);
    create("vmdk", base, size, {});
    let node = openImage("vmdk", base, true);
    change(node, model, chance, 10);
    go(node.unref());
    if (theirs) qemu("qemu-img", "create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", top);
    else create("vmdk", top, size, { backing_file: "base.vmdk", backing_fmt: "vmdk" });
    node = openImage("vmdk", top, true);
    assert.is(node.backing?.driver.name, "vmdk");
    // The last MiB stays that of the parent.
    change(node, model.subarray(0, 3 * MiB), chance, 10);
    go(node.unref());
    judge(vmdk, top, model);
    qemu("qemu-io", "-f", "vmdk", "-c", "write -P 7 0 1000k", top);
    model.fill(7, 0, 1000 * 1024);
    node = openImage("vmdk", top, false);
    const bytes = new Uint8Array(size);
    go(read(node, bytes, 0));
    assert.is(Buffer.compare(bytes, model), 0);
    go(node.unref());
    // A write to the parent gives it another content ID.
    node = openImage("vmdk", base, true);
    go(write(node, bytes.subarray(0, 512), 0));
    go(node.unref());
    assert.is.not(
      spawnSync("qemu-io", ["-f", "vmdk", "-r", "-c", "read 3M 1M", top]).stdout.toString().includes("read 1048576/1048576"),
      true,
    );
    node = openImage("vmdk", top, false);
    assert.throws(() => go(read(node, bytes, 0)), /content ID/);
    go(node.unref());
  }
});

test.run();
