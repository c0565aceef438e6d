/** Images written in one pass: to standard output and as web streams. The real qemu-img judges them where it is installed. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import { hasQemu } from "../support/qemu.js";
import * as assert from "uvu/assert";
import { BlockError, compare, convertToStream, create, KiB, measure, MiB, open } from "../../src/node.js";

const dir = mkdtempSync(join(tmpdir(), "stream-"));
test.after(() => rmSync(dir, { recursive: true, force: true }));

/** Data in clusters and parts of them, over several L2 tables when clusters are small, up to an odd end. */
async function sample(name: string, size: number, seed: number): Promise<string> {
  const path = join(dir, name);
  await create(path, { format: "qcow2", size });
  const image = await open(path, { writable: true });
  let state = seed;
  const random = (limit: number): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) % limit;
  for (let i = 0; i < 24; i++) {
    const length = 1 + random(i % 4 === 0 ? 700 * KiB : 9000);
    const at = random(size - length);
    await image.write(new Uint8Array(length).fill(1 + random(255)), at);
  }
  await image.write(new Uint8Array(700).fill(9), size - 700);
  await image.writeZeroes(1 * MiB, 300 * KiB);
  await image.close();
  return path;
}

async function collect(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** @param like an image with the same content; null: comparing would take qemu-img too long */
function judged(path: string, format: string, like: string | null): void {
  if (!hasQemu) return;
  if (format !== "vpc") {
    const done = spawnSync("qemu-img", ["check", "-f", format, path], { encoding: "utf8" });
    assert.is(done.status, 0, `${done.stdout}${done.stderr}`);
    assert.match(done.stdout, /No errors were found/);
  }
  if (like === null) return;
  const same = spawnSync("qemu-img", ["compare", "-f", "qcow2", "-F", format, like, path], { encoding: "utf8" });
  assert.is(same.status, 0, `${same.stdout}${same.stderr}`);
}

const variants: [string, Record<string, unknown>][] = [
  ["qcow2", {}],
  ["qcow2", { cluster_size: 512 }],
  ["qcow2", { cluster_size: 4096, refcount_bits: 1 }],
  ["qcow2", { cluster_size: 2 * MiB, refcount_bits: 64 }],
  ["qcow2", { extended_l2: true, cluster_size: 16 * KiB }],
  ["qcow2", { compat: "0.10" }],
  ["qcow2", { compression_type: "zstd", lazy_refcounts: true, refcount_bits: 32 }],
  ["vpc", {}],
  ["vpc", { force_size: true }],
  ["vpc", { subformat: "fixed" }],
  ["vpc", { subformat: "fixed", force_size: true, align_size: MiB }],
  ["vdi", {}],
  ["vdi", { static: true }],
  ["vhdx", {}],
  ["vhdx", { block_size: MiB, log_size: 2 * MiB, block_state_zero: false }],
  ["vhdx", { subformat: "fixed" }],
  ["vmdk", { subformat: "streamOptimized" }],
  ["vmdk", { subformat: "streamOptimized", adapter_type: "lsilogic", hwversion: "7" }],
];
/** Sizes other than those asked for: the geometry's, the alignment's. */
const GROWS = new Set(["vpc"]);

for (const [format, options] of variants) {
  test(`a ${format} stream with ${JSON.stringify(options)} is a sound image with the same content, as long as measured`, async () => {
    const size = 9 * MiB + 7 * 512;
    const path = await sample("from.qcow2", size, 7);
    const source = await open(path);
    const { length, stream } = await convertToStream(source, { format, options });
    const bytes = await collect(stream);
    assert.is(bytes.length, length);
    const measured = await measure(source, { format, options });
    // For qcow2 it is qemu-img's number, which counts every table the disk may have.
    assert.ok(format === "qcow2" ? measured.required >= length : measured.required === length);
    assert.ok(measured.fullyAllocated >= length);
    const out = join(dir, "streamed");
    writeFileSync(out, bytes);
    judged(out, format, path);
    const copy = await open(out, { format });
    assert.ok(GROWS.has(format) ? copy.size >= size : copy.size === size);
    assert.equal(await compare(source, copy), { identical: true });
    if (format !== "vpc") {
      const report = await copy.check();
      assert.is(report.checkErrors, 0);
      assert.equal(report.problems, []);
    }
    await copy.close();
    await source.close();
  });
}

test("an empty disk, one without any data, and one whose tables have several pieces", async () => {
  for (const [format, options] of [
    ["qcow2", {}],
    ["vpc", {}],
    ["vdi", {}],
    ["vhdx", {}],
    ["vhdx", { block_size: MiB }],
    ["vmdk", { subformat: "streamOptimized" }],
  ] as [string, Record<string, unknown>][]) {
    for (const size of [0, 512, 3 * 1024 * MiB, 1024 * 1024 * MiB]) {
      // An extent of no sectors is none, for QEMU too.
      if (format === "vmdk" && size === 0) continue;
      const path = join(dir, "blank.qcow2");
      await create(path, { format: "qcow2", size });
      if (size > 1024 * MiB) {
        const image = await open(path, { writable: true });
        await image.write(new Uint8Array(1000).fill(1), size - 1000);
        await image.close();
      }
      const { length, stream } = await convertToStream(path, { format, options });
      const bytes = await collect(stream);
      assert.is(bytes.length, length);
      const out = join(dir, "blank-out");
      writeFileSync(out, bytes);
      if (size > 0) judged(out, format, size > MiB ? null : path);
      const copy = await open(out, { format });
      assert.ok(GROWS.has(format) ? copy.size >= size : copy.size === size, `${format} ${size} ${copy.size}`);
      if (size > 1024 * MiB) assert.equal(await copy.read(size - 1000, 1000), new Uint8Array(1000).fill(1));
      await copy.close();
    }
  }
});

test("disks of odd sizes, with data in their last bytes or none at all", async () => {
  const kinds: [string, Record<string, unknown>][] = [
    ["vpc", { force_size: true }],
    ["vpc", { subformat: "fixed" }],
    ["vdi", {}],
    ["vdi", { static: true }],
    ["vhdx", { block_size: MiB }],
    ["vmdk", { subformat: "streamOptimized" }],
    ["raw", {}],
  ];
  for (const size of [1, 511, MiB + 1, MiB + 512]) {
    for (const last of [0, 7]) {
      const path = join(dir, "odd.raw");
      writeFileSync(path, new Uint8Array(size).fill(last, Math.max(0, size - 600)));
      for (const [format, options] of kinds) {
        const source = await open(path, { format: "raw" });
        const { length, stream } = await convertToStream(source, { format, options });
        const bytes = await collect(stream);
        const { required } = await measure(source, { format, options });
        await source.close();
        const what = `${format} ${JSON.stringify(options)} of ${size} bytes`;
        assert.equal([bytes.length, required], [length, length], what);
        const out = join(dir, "odd-out");
        writeFileSync(out, bytes);
        if (!hasQemu) continue;
        const same = spawnSync("qemu-img", ["compare", "-f", "raw", "-F", format, path, out], { encoding: "utf8" });
        assert.is(same.status, 0, `${what}: ${same.stdout}${same.stderr}`);
      }
    }
  }
});

test("raw streams have the size of the disk", async () => {
  const path = await sample("raw-from.qcow2", 3 * MiB, 3);
  const { length, stream } = await convertToStream(path);
  assert.is(length, 3 * MiB);
  const bytes = await collect(stream);
  const source = await open(path);
  assert.equal(bytes, await source.read(0, 3 * MiB));
  await source.close();
});

test("what needs a second pass is refused", async () => {
  const path = await sample("refused.qcow2", 2 * MiB, 5);
  const cases: [string, Record<string, unknown>][] = [
    ["qcow2", { preallocation: "metadata" }],
    ["qcow2", { backing_file: "base.img", backing_fmt: "raw" }],
    ["qcow2", { data_file: "x" }],
    ["qcow2", { size: "4M" }],
    ["vpc", { backing_file: "base.vhd" }],
    ["vmdk", {}],
    ["vmdk", { subformat: "monolithicFlat" }],
    ["vmdk", { subformat: "streamOptimized", backing_file: "base.vmdk" }],
    ["qed", {}],
  ];
  for (const [format, options] of cases) {
    try {
      await convertToStream(path, { format, options });
      assert.unreachable(`${format} ${JSON.stringify(options)}`);
    } catch (error) {
      assert.instance(error, BlockError, String(error));
      assert.is((error as BlockError).code, "ERR_UNSUPPORTED", String(error));
    }
  }
});

test("a reader that stops leaves nothing open", async () => {
  const path = await sample("cancelled.qcow2", 8 * MiB, 11);
  const { stream } = await convertToStream(path, { format: "qcow2" });
  const reader = stream.getReader();
  await reader.read();
  await reader.cancel();
  // The image can be opened for writing: nobody holds it.
  for (let tries = 0; ; tries++) {
    try {
      const again = await open(path, { writable: true });
      await again.close();
      break;
    } catch (error) {
      if (tries === 50) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
});

test.run();
