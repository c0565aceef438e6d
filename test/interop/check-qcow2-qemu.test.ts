// time-limit: 120 s
/** Random damage to images of qemu-img: what our check says must be what the real one says, line by line and in numbers. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../src/base/error.js";
import { qcow2 } from "../../src/formats/qcow2/qcow2.js";
import { raw } from "../../src/formats/raw/raw.js";
import type { ImageCheck } from "../../src/block/types.js";
import { checkImage } from "../../src/image/check.js";
import { memoryStorage } from "../../src/storage/memory.js";
import { chooseSeed, random } from "../support/random.js";
import { skip } from "../support/skip.js";
import { makeWorld, type World } from "../support/world.js";

const available = spawnSync("qemu-img", ["--version"]).status === 0 && spawnSync("qemu-io", ["--version"]).status === 0;
const dir = available ? mkdtempSync(join(tmpdir(), "blockcore-check-")) : "";
test.after(() => {
  if (available) rmSync(dir, { recursive: true });
});

function run(command: string, ...args: string[]): { status: number; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8", timeout: 20_000 });
  return { status: status ?? -1, stdout, stderr };
}

const SHAPES: readonly string[] = [
  "cluster_size=64k",
  "cluster_size=512",
  "cluster_size=4k,refcount_bits=1",
  "cluster_size=64k,refcount_bits=64",
  "cluster_size=16k,extended_l2=on",
  "compat=0.10,cluster_size=4k",
  "cluster_size=2M",
];

function base(shape: string): Buffer {
  const path = join(dir, "base.qcow2");
  run("qemu-img", "create", "-q", "-f", "qcow2", "-o", shape, path, "6M");
  run(
    "qemu-io",
    "-c",
    "write -P 1 0 700k",
    "-c",
    "write -P 2 2M 300k",
    "-c",
    "write -z 3M 200k",
    "-c",
    "discard 2100k 64k",
    path,
  );
  if (!shape.includes("extended") && !shape.includes("refcount_bits=1")) run("qemu-img", "snapshot", "-c", "one", path);
  run("qemu-io", "-c", "write -P 3 256k 128k", path);
  return readFileSync(path);
}

/** Damages entries of L1, L2 and refcount tables, which is where a check looks. */
function damage(image: Buffer, chance: ReturnType<typeof random>): void {
  const size = 2 ** image.readUInt32BE(20);
  const l1 = Number(image.readBigUInt64BE(40));
  const reftable = Number(image.readBigUInt64BE(48));
  const block = Number(image.readBigUInt64BE(reftable));
  const l2 = Number(image.readBigUInt64BE(l1) & 0xfffffffffffe00n);
  for (let n = 1 + chance.int(4); n > 0; n--) {
    const clusters = Math.ceil(image.length / size);
    switch (chance.int(5)) {
      case 0:
        image[block + chance.int(Math.min(size, clusters * 2))] = chance.int(4);
        break;
      case 1:
        image[l2 + chance.int(Math.min(size, 2048))] = chance.int(256);
        break;
      case 2:
        image.writeBigUInt64BE(
          (chance.chance(0.5) ? 1n << 63n : 0n) | BigInt(chance.int(clusters + 1) * size),
          l2 + chance.int(Math.min(size / 8, 96)) * 8,
        );
        break;
      case 3:
        image.writeBigUInt64BE(
          (1n << 62n) | BigInt(chance.int(clusters) * size + chance.int(64) * 8),
          l2 + chance.int(Math.min(size / 8, 96)) * 8,
        );
        break;
      default:
        image[l1 + chance.int(2)] = chance.pick([0x80, 0x00, 0x81, 0xc0]);
    }
  }
}

async function ours(world: World): Promise<{ found: ImageCheck | null; texts: string[] }> {
  const texts: string[] = [];
  try {
    const node = await world.open("qcow2", "image", { check: true });
    const found = await world.run(checkImage(node, { onProblem: ({ text }) => texts.push(text) }));
    await world.close(node);
    return { found, texts };
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return { found: null, texts };
  }
}

/** Refcounts from 2^53 on are no exact numbers for us. */
const sorted = (lines: readonly string[]): string[] =>
  lines
    .filter((line) => /^(ERROR|Leaked|Repairing)/.test(line))
    .map((line) => line.replace(/refcount=(\d{16,}|> 2\^53)/, "refcount=huge"))
    .sort();

test("random damage", async () => {
  if (!available) return skip("qemu-img is not installed");
  const seed = chooseSeed();
  console.log(`SEED=${seed}`);
  const chance = random(seed);
  for (const shape of SHAPES) {
    const sound = base(shape);
    for (let round = 0; round < 12; round++) {
      const image = Buffer.from(sound);
      damage(image, chance);
      const path = join(dir, "image.qcow2");
      writeFileSync(path, image);
      const theirs = run("qemu-img", "check", "-f", "qcow2", "--output=json", path);
      const world = makeWorld({ mode: "sync", drivers: [raw, qcow2] });
      world.files.set("image", memoryStorage(new Uint8Array(image), { name: "image" }));
      const { found, texts } = await ours(world);
      const label = `${shape} round ${round} SEED=${seed}`;
      if (theirs.status === 1 || !theirs.stdout.startsWith("{")) {
        assert.ok(found === null || found["check-errors"] > 0 || (found.corruptions ?? 0) > 0, `${label}: ${theirs.stderr}`);
        continue;
      }
      assert.equal(sorted(texts), sorted(theirs.stderr.split("\n")), label);
      const { filename: _name, format: _format, ...numbers } = JSON.parse(theirs.stdout) as ImageCheck;
      const { filename: _ours, format: _same, ...mine } = found!;
      assert.equal(mine, numbers, label);
    }
  }
});

test.run();
