/** Images written in one pass: to standard output and as web streams. The real qemu-img judges them where it is installed. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import { hasQemu } from "../support/qemu.js";
import * as assert from "uvu/assert";
import { BlockError, compare, convertToStream, create, KiB, MiB, open } from "../../src/node.js";

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

function judged(path: string): void {
  if (!hasQemu) return;
  const done = spawnSync("qemu-img", ["check", path], { encoding: "utf8" });
  assert.is(done.status, 0, `${done.stdout}${done.stderr}`);
  assert.match(done.stdout, /No errors were found/);
}

const variants: Record<string, unknown>[] = [
  {},
  { cluster_size: 512 },
  { cluster_size: 4096, refcount_bits: 1 },
  { cluster_size: 2 * MiB, refcount_bits: 64 },
  { extended_l2: true, cluster_size: 16 * KiB },
  { compat: "0.10" },
  { compression_type: "zstd", lazy_refcounts: true, refcount_bits: 32 },
];

for (const options of variants) {
  test(`a qcow2 stream with ${JSON.stringify(options)} is a sound image with the same content`, async () => {
    const size = 9 * MiB + 7 * 512;
    const path = await sample("from.qcow2", size, 7);
    const source = await open(path);
    const { length, stream } = await convertToStream(source, { format: "qcow2", options });
    const bytes = await collect(stream);
    assert.is(bytes.length, length);
    const out = join(dir, "streamed.qcow2");
    writeFileSync(out, bytes);
    judged(out);
    const copy = await open(out, { format: "qcow2" });
    assert.is(copy.size, size);
    assert.equal(await compare(source, copy), { identical: true });
    const report = await copy.check();
    assert.is(report.checkErrors, 0);
    assert.equal(report.problems, []);
    await copy.close();
    await source.close();
  });
}

test("an empty disk, and one without any data", async () => {
  for (const size of [0, 512, 3 * 1024 * MiB]) {
    const path = join(dir, "blank.qcow2");
    await create(path, { format: "qcow2", size });
    const { length, stream } = await convertToStream(path, { format: "qcow2" });
    const bytes = await collect(stream);
    assert.is(bytes.length, length);
    const out = join(dir, "blank-out.qcow2");
    writeFileSync(out, bytes);
    judged(out);
    const copy = await open(out);
    assert.is(copy.size, size);
    await copy.close();
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
    ["vdi", {}],
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
