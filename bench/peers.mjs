// How fast are other libraries of npm at the same work on the same image, in this process? They are not our dependencies:
//   npm install --prefix DIR @xen-orchestra/qcow2 @vates/read-chunk     (the second is missing among the dependencies of the first)
//   node bench/peers.mjs DIR [MiB] [rounds]
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { open as openFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { inTemporary, MiB, paired, QEMU_IMG, record } from "./lib/bench.mjs";
import { makeMixedImage } from "./lib/images.mjs";

const [directory, sizeText, roundsText] = process.argv.slice(2);
const size = Number(sizeText ?? 1024);
const rounds = Number(roundsText ?? 5);
if (directory === undefined) {
  console.log("no peers: npm install --prefix DIR @xen-orchestra/qcow2 @vates/read-chunk && node bench/peers.mjs DIR");
  process.exit(0);
}
const require = createRequire(join(resolve(directory), "package.json"));
const { QCowAccessor, toQcow2Stream } = await import(pathToFileURL(require.resolve("@xen-orchestra/qcow2")).href);
const { open, openSync, convertToStream } = await import(pathToFileURL(resolve("build/dist/node.js")).href);

/** What their disks read files through. */
class Files {
  #open = new Map();
  async openFile(path) {
    const file = await openFile(path, "r");
    this.#open.set(file.fd, file);
    return file.fd;
  }
  read(descriptor, buffer, position) {
    return this.#open.get(descriptor).read(buffer, 0, buffer.length, position);
  }
  async closeFile(descriptor) {
    await this.#open.get(descriptor).close();
    this.#open.delete(descriptor);
  }
}

/** Everything that is stored, block by block as their interface has it; `take` gets data and its place. */
async function theirRead(path, take) {
  const disk = new QCowAccessor(new Files(), path);
  await disk.init();
  const block = disk.getBlockSize();
  for await (const { index, data } of disk.diskBlocks()) take(data, index * block);
}
const PIECE = 1 * MiB;
function* stored(extents) {
  for (const { start, length, data } of extents)
    if (data) for (let at = 0; at < length; at += PIECE) yield [start + at, Math.min(PIECE, length - at)];
}
function ourReadSync(path, take) {
  const image = openSync(path, { format: "qcow2" });
  const buffer = new Uint8Array(PIECE);
  for (const [at, length] of stored(image.extents())) {
    const part = buffer.subarray(0, length);
    image.readInto(part, at);
    take(part, at);
  }
  image.close();
}
async function ourRead(path, take) {
  const image = await open(path, { format: "qcow2" });
  const buffer = new Uint8Array(PIECE);
  for await (const extent of image.extents())
    for (const [at, length] of stored([extent])) {
      const part = buffer.subarray(0, length);
      await image.readInto(part, at);
      take(part, at);
    }
  await image.close();
}
async function drain(stream) {
  let bytes = 0;
  for await (const chunk of stream) bytes += chunk.length;
  return bytes;
}

/** The guest's bytes, in the order of their places. */
async function contentBy(read, path) {
  const hash = createHash("sha256");
  let end = 0;
  await read(path, (data, at) => {
    if (at < end) throw new Error("out of order");
    end = at + data.length;
    hash.update(data);
  });
  return hash.digest("hex");
}

await inTemporary(async (dir) => {
  const raw = join(dir, "mix.raw");
  const path = join(dir, "mix.qcow2");
  makeMixedImage(raw, size);
  spawnSync(QEMU_IMG, ["convert", "-f", "raw", "-O", "qcow2", raw, path]);
  const contents = await Promise.all([theirRead, ourReadSync, ourRead].map((read) => contentBy(read, path)));
  if (new Set(contents).size !== 1) throw new Error("they do not read the same");

  let bytes = 0;
  ourReadSync(path, (data) => (bytes += data.length));
  /** MiB of data a second. */
  const rate = (work) => async () => {
    const start = performance.now();
    await work();
    return bytes / MiB / ((performance.now() - start) / 1000);
  };
  const nothing = () => {};
  const peer = `@xen-orchestra/qcow2 ${require("@xen-orchestra/qcow2/package.json").version}`;
  const compare = (name, { ours, theirs }) =>
    record({
      bench: "peers",
      name,
      unit: "MiB/s",
      ours,
      theirs,
      ratio: ours / theirs,
      target: 1,
      atLeast: true,
      note: `against ${peer}; ${(bytes / MiB).toFixed(0)} MiB of data, in process`,
    });

  const reads = await paired(rounds, {
    ours: rate(() => ourRead(path, nothing)),
    sync: rate(() => ourReadSync(path, nothing)),
    theirs: rate(() => theirRead(path, nothing)),
  });
  compare("read a qcow2 image, awaited", reads);
  compare("read a qcow2 image, synchronous (theirs awaited)", { ...reads, ours: reads.sync });
  const streams = await paired(rounds, {
    ours: rate(async () => drain((await convertToStream(path, { format: "qcow2" })).stream)),
    theirs: rate(async () => {
      const disk = new QCowAccessor(new Files(), path);
      await disk.init();
      await drain(toQcow2Stream(disk));
    }),
  });
  compare("a qcow2 stream of a qcow2 image", streams);
});
