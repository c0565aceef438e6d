// time-limit: 120 s
/**
 * Every ordered pair of formats that can be written, and those that are only read to each of them: `qemu-img convert` (ours, in this process) from the one to the other, and the
 * guest's bytes are the same. The real qemu-img reads a sample of the results and, asked for the same, makes images of the same size.
 *
 * Sizes: convert counts in sectors, so an odd tail of a raw file becomes a whole sector of zeros everywhere. Only vpc makes more of
 * it: it knows sizes as cylinders × heads × sectors and rounds up to the next one it can say.
 */
import { spawnSync } from "node:child_process";
import { statSync, writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { concatBytes } from "../../src/base/bytes.js";
import { read } from "../../src/block/io.js";
import { openNode } from "../../src/block/open.js";
import { runAsync } from "../../src/block/op.js";
import { cliEnvironment } from "../../src/cli/environment.js";
import { imgMain } from "../../src/cli/img/program.js";
import { Output, type OutputStream } from "../../src/cli/output.js";
import { bochsOf, cloopOf, dmgOf } from "../support/foreign-images.js";
import { chooseSeed, random } from "../support/random.js";
import { hasQemu } from "../support/qemu.js";
import { skip } from "../support/skip.js";
import { tempPath } from "../support/temp.js";

const MiB = 1024 * 1024;
const SECTOR = 512;
const SECRET = "secret,id=sec0,data=convert pairs";
/** Of the sources of each target: how many of the results the real qemu-img has to judge. */
const SAMPLE = 2;

interface Kind {
  name: string;
  driver: string;
  /** As `-o` wants them. */
  options?: string;
  encrypted?: boolean;
  /** Does not store zeros, in units of 2 MiB or less. */
  sparse?: boolean;
  /** The real qemu-img does not know it. */
  oursOnly?: boolean;
  /** Gives the guest more than was asked for. */
  roundsUp?: boolean;
}
const kinds: readonly Kind[] = [
  { name: "raw", driver: "raw" },
  { name: "qcow2", driver: "qcow2", sparse: true },
  { name: "qed", driver: "qed", sparse: true },
  { name: "qcow", driver: "qcow", sparse: true },
  { name: "vdi", driver: "vdi", sparse: true },
  { name: "vpc", driver: "vpc", sparse: true, roundsUp: true },
  { name: "vpc-exact", driver: "vpc", options: "force_size=on", sparse: true },
  { name: "vhdx", driver: "vhdx" },
  { name: "vmdk", driver: "vmdk", options: "subformat=monolithicSparse", sparse: true },
  { name: "vmdk-stream", driver: "vmdk", options: "subformat=streamOptimized", sparse: true },
  { name: "parallels", driver: "parallels", sparse: true },
  { name: "cow", driver: "cow", oursOnly: true },
  { name: "luks", driver: "luks", options: "key-secret=sec0,iter-time=10", encrypted: true },
];

const seed = chooseSeed();
console.log(`SEED=${seed}`);
const environment = cliEnvironment({ objects: [SECRET], warn: () => {} });

/** Data at both ends and at odd places, five MiB of zeros in the middle, written ones and holes alike to the guest; an odd tail. */
function makeContent(): Uint8Array {
  const chance = random(seed);
  const content = new Uint8Array(9 * MiB + 3 * SECTOR + 100);
  const tile = chance.bytes(70_001);
  for (let at = 0; at < MiB; at += tile.length) content.set(tile.subarray(0, Math.min(tile.length, MiB - at)), at);
  for (let i = 0; i < 12; i++) {
    const length = 1 + chance.int(20_000);
    const start = chance.chance(0.5) ? 0 : 7 * MiB;
    content.set(tile.subarray(0, length), start + chance.int(2 * MiB - length));
  }
  content.set(chance.bytes(700), content.length - 700);
  return content;
}

/** The content as a guest sees it behind a disk of `size` bytes. */
function padded(content: Uint8Array, size: number): Uint8Array {
  const whole = new Uint8Array(size);
  whole.set(content);
  return whole;
}

async function ourImg(...argv: string[]): Promise<void> {
  let text = "";
  const stream: OutputStream = {
    write(chunk, done) {
      text += typeof chunk === "string" ? chunk : Buffer.from(chunk).toString();
      done?.();
      return true;
    },
    once: () => undefined,
    on: () => undefined,
  };
  const output = new Output({ program: "qemu-img", stdout: stream, stderr: stream });
  const code = await imgMain(argv, {
    program: "qemu-img",
    version: "test",
    friendly: false,
    output,
    signal: new AbortController().signal,
  });
  if (code !== 0 || text !== "") throw new Error(`qemu-img ${argv.join(" ")}: exit ${code}, ${text}`);
}

function realImg(...argv: string[]): string {
  let run = spawnSync("qemu-img", argv, { encoding: "utf8" });
  // Its benchmark of the key derivation gives up on busy machines.
  for (let again = 0; again < 5 && run.stderr.includes("accurate CPU usage"); again++)
    run = spawnSync("qemu-img", argv, { encoding: "utf8" });
  if (run.status !== 0) throw new Error(`qemu-img ${argv.join(" ")}: ${run.stdout}${run.stderr}`);
  return run.stdout;
}

function imageOpts({ driver, encrypted }: Kind, file: string): string {
  return `driver=${driver},file.driver=file,file.filename=${file}${encrypted === true ? ",key-secret=sec0" : ""}`;
}
function convertArguments(from: Kind, source: string, to: Kind, target: string): string[] {
  const options = to.options === undefined ? [] : ["-o", to.options];
  return ["convert", "--object", SECRET, "--image-opts", "-O", to.driver, ...options, imageOpts(from, source), target];
}

async function guestBytes({ driver, encrypted }: Kind, filename: string): Promise<Uint8Array> {
  const node = await runAsync(
    openNode(environment, { driver, filename, ...(encrypted === true ? { options: { "key-secret": "sec0" } } : {}) }),
  );
  try {
    const bytes = new Uint8Array(node.size);
    await runAsync(read(node, bytes, 0));
    return bytes;
  } finally {
    await runAsync(node.unref());
  }
}

function judge(kind: Kind, image: string, model: string): void {
  realImg("compare", "-q", "--object", SECRET, "--image-opts", imageOpts(kind, image), imageOpts(kinds[0]!, model));
  if (["qcow2", "qed", "vdi", "vhdx", "vmdk", "parallels"].includes(kind.driver))
    realImg("check", "-q", "-f", kind.driver, image);
}
function realSize(kind: Kind, image: string): number {
  const info = JSON.parse(realImg("info", "--output=json", "--object", SECRET, "--image-opts", imageOpts(kind, image))) as {
    "virtual-size": number;
  };
  return info["virtual-size"];
}

const content = makeContent();
const sectors = Math.ceil(content.length / SECTOR) * SECTOR;
const rawFile = tempPath("content.raw");
writeFileSync(rawFile, content);
const sources = new Map<string, string>();

/** The content as an image of that kind, made by our convert when first asked for. */
async function sourceOf(kind: Kind): Promise<string> {
  let path = sources.get(kind.name);
  if (path !== undefined) return path;
  if (kind.name === "raw") path = rawFile;
  else {
    path = tempPath(`source-${kind.name}`);
    await ourImg(...convertArguments(kinds[0]!, rawFile, kind, path));
  }
  sources.set(kind.name, path);
  return path;
}

for (const [at, from] of kinds.entries()) {
  for (const [index, to] of kinds.entries()) {
    test(`${from.name} to ${to.name}`, async () => {
      const source = await sourceOf(from);
      const target = tempPath(`target-${to.name}`);
      await ourImg(...convertArguments(from, source, to, target));
      const bytes = await guestBytes(to, target);
      if (from.roundsUp === true || to.roundsUp === true)
        assert.ok(bytes.length >= sectors && bytes.length < sectors + MiB, `size ${bytes.length}`);
      else assert.is(bytes.length, sectors);
      assert.is(Buffer.compare(bytes, padded(content, bytes.length)), 0, "the content");
      if (to.sparse === true) assert.ok(statSync(target).size < 7 * MiB, `the zeros were stored: ${statSync(target).size} bytes`);
      // Which sources are in the sample changes with the seed; over time every pair is.
      if (!hasQemu || from.oursOnly === true || to.oursOnly === true) return;
      if ((at - index + (seed % kinds.length) + 2 * kinds.length) % kinds.length >= SAMPLE) return;
      judge(to, target, rawFile);
      assert.is(realSize(to, target), bytes.length);
      const theirs = tempPath(`theirs-${to.name}`);
      realImg(...convertArguments(from, source, to, theirs));
      assert.is(realSize(to, theirs), bytes.length, "the size that qemu-img gives it");
      assert.is(Buffer.compare(await guestBytes(to, theirs), bytes), 0, "the content of what qemu-img made of our image");
    });
  }
}

/** Formats that are only read: their images are made by the tests, and the real qemu-img agrees that they are what they should be. */
const padding = new Uint8Array(65536 - (sectors % 65536));
const whole = padded(content, sectors);
const foreign: readonly { kind: Kind; image: Uint8Array; size: number }[] = [
  { kind: { name: "dmg", driver: "dmg" }, image: dmgOf(whole), size: sectors },
  { kind: { name: "bochs", driver: "bochs" }, image: bochsOf(whole), size: sectors },
  {
    kind: { name: "cloop", driver: "cloop" },
    image: cloopOf(concatBytes([whole, padding]), 65536),
    size: sectors + padding.length,
  },
];
for (const { kind: from, image, size } of foreign) {
  const source = tempPath(`source.${from.name}`);
  test(`what the tests make as ${from.name} is one for the real qemu-img, too`, () => {
    writeFileSync(source, image);
    if (!hasQemu) return skip("qemu-img is not installed");
    realImg("compare", "-q", "-f", from.driver, "-F", "raw", source, rawFile);
  });
  for (const to of kinds) {
    test(`${from.name} to ${to.name}`, async () => {
      const target = tempPath(`target-${to.name}`);
      await ourImg(...convertArguments(from, source, to, target));
      const bytes = await guestBytes(to, target);
      assert.ok(bytes.length >= size && (to.roundsUp === true || bytes.length === size), `size ${bytes.length}`);
      assert.is(Buffer.compare(bytes, padded(content, bytes.length)), 0, "the content");
    });
  }
}

test("the real qemu-img was there to judge", () => {
  if (!hasQemu) return skip("qemu-img is not installed");
});

test.run();
