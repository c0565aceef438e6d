/** Small sound images of every format but qcow2, with something of all their format can have; damaged ones begin as copies. */
import { encodeText } from "../../src/base/bytes.js";
import type { BlockdevOptions } from "../../src/block/context.js";
import { write, writeZeroes } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import type { Op } from "../../src/block/op.js";
import { storageNode } from "../../src/block/storage-node.js";
import { openNode } from "../../src/block/open.js";
import { runSync } from "../../src/block/op.js";
import { allFormats } from "../../src/platform/all-formats.js";
import { memoryStorage } from "../../src/storage/memory.js";
import { bochsOf, cloopOf, cowdExtent, dmgOf, seSparseExtent } from "../support/foreign-images.js";
import { bytesOf, recordingStorage } from "../support/recording.js";
import { makeWorld, type World } from "../support/world.js";
import type { Field } from "./fields.js";
import { anatomies, type FormatName } from "./format-fields.js";

export interface SoundImage {
  name: string;
  driver: string;
  /** Options to open it with. */
  options: BlockdevOptions;
  /** The one called "image" is opened. */
  files: ReadonlyMap<string, Uint8Array>;
  /** Files with fields. */
  parts: readonly { file: string; fields: readonly Field[] }[];
  seal?: (bytes: Uint8Array) => void;
}

const MiB = 1 << 20;
const SECRETS = { k: "sesame" };
const KEY = { "key-secret": "k" };

export const worldWith = (files: ReadonlyMap<string, Uint8Array> = new Map()): World => {
  const world = makeWorld({ mode: "sync", drivers: allFormats, secrets: SECRETS });
  for (const [name, bytes] of files) world.files.set(name, memoryStorage(bytes, { name }));
  return world;
};

interface Recipe {
  name: string;
  driver: FormatName;
  size?: number;
  create?: Readonly<Record<string, unknown>>;
  open?: BlockdevOptions;
  /** Created before, with content, under the name "parent". */
  parent?: { driver: string; create?: Readonly<Record<string, unknown>> };
  /** Instead of what `fill` writes. */
  content?: (node: Node) => Op<void>;
}

const recipes: readonly Recipe[] = [
  { name: "vdi", driver: "vdi" },
  { name: "vdi static", driver: "vdi", create: { static: true } },
  { name: "vpc", driver: "vpc", create: { force_size: true } },
  { name: "vpc fixed", driver: "vpc", create: { subformat: "fixed", force_size: true } },
  {
    name: "vpc over a parent",
    driver: "vpc",
    create: { backing_file: "parent" },
    parent: { driver: "vpc", create: { force_size: true } },
  },
  { name: "parallels", driver: "parallels", create: { cluster_size: MiB } },
  { name: "parallels, small clusters", driver: "parallels", create: { cluster_size: 4096 } },
  { name: "qed", driver: "qed", create: { cluster_size: 4096, table_size: 2 } },
  {
    name: "qed over a raw file",
    driver: "qed",
    create: { backing_file: "parent", backing_fmt: "raw" },
    parent: { driver: "raw" },
  },
  { name: "qcow", driver: "qcow", content: withCompressed },
  {
    name: "qcow over a raw file",
    driver: "qcow",
    create: { backing_file: "parent", backing_fmt: "raw" },
    parent: { driver: "raw" },
  },
  {
    name: "qcow, encrypted",
    driver: "qcow",
    create: { "encrypt.format": "aes", "encrypt.key-secret": "k" },
    open: { encrypt: KEY },
  },
  { name: "cow", driver: "cow", create: { backing_file: "parent" }, parent: { driver: "raw" } },
  { name: "luks", driver: "luks", size: MiB, create: { ...KEY, "iter-time": 10 }, open: KEY },
  { name: "vmdk", driver: "vmdk", content: fill },
  { name: "vmdk with zeroed grains", driver: "vmdk", create: { zeroed_grain: true } },
  { name: "vmdk flat", driver: "vmdk", create: { subformat: "monolithicFlat" } },
  { name: "vmdk in extents", driver: "vmdk", create: { subformat: "twoGbMaxExtentSparse" } },
  { name: "vmdk stream", driver: "vmdk", create: { subformat: "streamOptimized" }, content: stream },
  {
    name: "vmdk over a parent",
    driver: "vmdk",
    create: { backing_file: "parent", backing_fmt: "vmdk" },
    parent: { driver: "vmdk" },
  },
  { name: "vhdx", driver: "vhdx", create: { block_size: MiB } },
  {
    name: "vhdx over a parent",
    driver: "vhdx",
    create: { block_size: MiB, backing_file: "parent" },
    parent: { driver: "vhdx", create: { block_size: MiB } },
  },
];

function* fill(node: Node): Op<void> {
  yield* write(node, new Uint8Array(90_000).fill(1), 5000);
  yield* write(node, new Uint8Array(70_000).fill(2), node.size - 70_000);
  yield* writeZeroes(node, 300_000, 100_000, { mayUnmap: true });
}
function* withCompressed(node: Node): Op<void> {
  yield* fill(node);
  yield* write(node, new Uint8Array(4096).fill(3), 512 * 1024, { compressed: true });
}
/** Whole grains, in order. */
function* stream(node: Node): Op<void> {
  for (const at of [0, 65536, MiB]) yield* write(node, new Uint8Array(65536).fill(at >> 12), at, { compressed: true });
}

async function make({
  name,
  driver,
  size = 2 * MiB,
  create = {},
  open = {},
  parent,
  content = fill,
}: Recipe): Promise<SoundImage> {
  const world = worldWith();
  if (parent !== undefined) {
    await world.create(parent.driver, "parent", size, parent.create);
    const node = await world.open(parent.driver, "parent");
    await world.run(write(node, new Uint8Array(size).fill(9), 0));
    await world.close(node);
  }
  await world.create(driver, "image", size, create);
  const node = await world.open(driver, "image", { write: true, unmap: true }, open);
  await world.run(content(node));
  await world.close(node);
  return sound(name, driver, open, new Map([...world.files.keys()].map((file) => [file, world.bytes(file)])));
}

function sound(name: string, driver: FormatName, options: BlockdevOptions, files: ReadonlyMap<string, Uint8Array>): SoundImage {
  const anatomy = anatomies[driver];
  const parts = [...files]
    .filter(([file]) => file !== "parent" && !file.includes("flat"))
    .map(([file, bytes]) => ({ file, fields: anatomy.fields(bytes) }));
  const { seal } = anatomy;
  return { name, driver, options, files, parts, ...(seal === undefined ? {} : { seal }) };
}

/** A VHDX image whose power failed before the tables had taken what the log has. */
async function unplayed(): Promise<SoundImage> {
  const world = worldWith();
  await world.create("vhdx", "image", 2 * MiB, { block_size: MiB });
  const medium = world.bytes("image");
  const recording = recordingStorage(memoryStorage(medium));
  const file = runSync(storageNode(world.environment, recording, { write: true }));
  const node = runSync(openNode(world.environment, { driver: "vhdx", options: { file }, flags: { write: true } }));
  runSync(file.unref());
  runSync(write(node, new Uint8Array(90_000).fill(1), 5000));
  runSync(node.unref());
  // Everything up to the last entry of the log, and not the tables that came after it.
  const isEntry = recording.lines.map((line) => line.op === "w" && bytesOf(line).toString("latin1", 0, 4) === "loge");
  const crashed = memoryStorage(medium);
  for (const line of recording.lines.slice(0, isEntry.lastIndexOf(true) + 1)) {
    if (line.op === "w") crashed.sync.write(bytesOf(line), line.o);
    if (line.op === "t") crashed.sync.truncate(line.n);
  }
  return sound("vhdx with a log", "vhdx", {}, new Map([["image", crashed.toBytes()]]));
}

function foreign(): SoundImage[] {
  const content = new Uint8Array(2 * MiB);
  for (let at = 0; at < content.length; at += 3000) content.fill(at % 251, at, at + (at % 2000));
  const descriptor =
    '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="custom"\n\n# Extent description\n' +
    'RW 4 ZERO\nRW 40 VMFSSPARSE "server"\nRW 32 SESPARSE "se"\n\n# The Disk Data Base\nddb.geometry.cylinders = "2"\n';
  const custom = new Map([
    ["image", encodeText(descriptor)],
    ["server", cowdExtent()],
    ["se", seSparseExtent()],
  ]);
  return [
    sound("bochs", "bochs", {}, new Map([["image", bochsOf(content)]])),
    sound("cloop", "cloop", {}, new Map([["image", cloopOf(content, 65536)]])),
    sound("dmg", "dmg", {}, new Map([["image", dmgOf(content, "fork")]])),
    sound("vmdk of other extents", "vmdk", {}, custom),
  ];
}

export const soundImages: readonly SoundImage[] = [...(await Promise.all(recipes.map(make))), await unplayed(), ...foreign()];
