/** Making VMDK images: the five subformats of qemu-img, laid out as QEMU lays them out. */
import { encodeText, viewOf } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { alignUp, divCeil } from "../../base/int.js";
import type { CreateContext, CreateOption } from "../../block/context.js";
import { baseName, resolveReference } from "../../block/filename.js";
import { truncate, writeGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { takeBool, takeChoice, takeString } from "../../block/take.js";
import { formatDescriptor, newCid, NO_CID } from "./descriptor.js";
import { VmdkImage } from "./image.js";
import {
  EMBEDDED_DESCRIPTOR_BYTES,
  EMBEDDED_DESCRIPTOR_OFFSET,
  Flag,
  MAX_DIRECTORY_ENTRIES,
  SECTOR,
  SPLIT_BYTES,
} from "./layout.js";
import { encodeSparseHeader } from "./sparse-header.js";

export const createOptions: readonly CreateOption[] = [
  { name: "size", type: "size", help: "Virtual disk size" },
  {
    name: "adapter_type",
    type: "string",
    help: "Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX",
  },
  { name: "backing_file", type: "string", help: "File name of a base image" },
  { name: "backing_fmt", type: "string", help: "Must be 'vmdk' if present" },
  { name: "compat6", type: "bool", help: "VMDK version 6 image", default: "off" },
  { name: "hwversion", type: "string", help: "VMDK hardware version", default: "undefined" },
  { name: "toolsversion", type: "string", help: "VMware guest tools version" },
  {
    name: "subformat",
    type: "string",
    help: "VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat | twoGbMaxExtentSparse | twoGbMaxExtentFlat | streamOptimized} ",
  },
  { name: "zeroed_grain", type: "bool", help: "Enable efficient zero writes using the zeroed-grain GTE feature" },
];

const SUBFORMATS = [
  "monolithicSparse",
  "monolithicFlat",
  "twoGbMaxExtentSparse",
  "twoGbMaxExtentFlat",
  "streamOptimized",
] as const;
const ADAPTERS = ["ide", "buslogic", "lsilogic", "legacyESX"] as const;
const GRAIN_SECTORS = 128;
const TABLE_ENTRIES = 512;
const TABLE_SECTORS: number = (TABLE_ENTRIES * 4) / SECTOR;

const invalid = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

/** The options of a new image, checked. */
export interface Settings {
  subformat: (typeof SUBFORMATS)[number];
  adapterType: (typeof ADAPTERS)[number];
  hardwareVersion: string;
  toolsVersion: string;
  zeroedGrain: boolean;
  /** "" for none. */
  backingFile: string;
}

/** @param options a bag that is emptied */
export function readSettings(options: Record<string, unknown>): Settings {
  const backingFormat = takeString(options, "backing_fmt");
  if (backingFormat !== undefined && backingFormat !== "vmdk") throw invalid("backing_file must be a vmdk image");
  const subformat = takeChoice(options, "subformat", SUBFORMATS) ?? "monolithicSparse";
  const adapterType = takeChoice(options, "adapter_type", ADAPTERS) ?? "ide";
  const hwversion = takeString(options, "hwversion");
  const compat6 = takeBool(options, "compat6") ?? false;
  const hasHardware = hwversion !== undefined && hwversion !== "undefined";
  if (compat6 && hasHardware) throw invalid("compat6 cannot be enabled with hwversion set");
  const zeroedGrain = takeBool(options, "zeroed_grain") ?? false;
  const backingFile = takeString(options, "backing_file") ?? "";
  const toolsVersion = takeString(options, "toolsversion") ?? "2147483647";
  const hardwareVersion = compat6 ? "6" : hasHardware ? hwversion : "4";
  for (const [name, value] of [
    ["hwversion", hardwareVersion],
    ["toolsversion", toolsVersion],
    ["backing_file", backingFile],
  ] as const) {
    // They become part of quoted lines.
    if (/["\r\n\0]/.test(value)) throw invalid(`Parameter '${name}' cannot hold quotes or line ends in a VMDK`);
  }
  return { subformat, adapterType, hardwareVersion, toolsVersion, zeroedGrain, backingFile };
}

export function* create(context: CreateContext): Op<void> {
  if (context.size < 0) throw invalid("Image creation needs a size parameter");
  const size = alignUp(context.size, SECTOR);
  const settings = readSettings({ ...context.options });
  const { subformat, adapterType, hardwareVersion, toolsVersion, zeroedGrain, backingFile } = settings;
  const flat = subformat.endsWith("Flat");
  const split = subformat.startsWith("twoGb");
  if (flat && backingFile !== "") throw new BlockError("ERR_UNSUPPORTED", "Flat image can't have backing file");
  if (flat && zeroedGrain) throw new BlockError("ERR_UNSUPPORTED", "Flat image can't enable zeroed grain");
  const parentCid = backingFile === "" ? NO_CID : yield* readParentCid(context, backingFile);

  const style: ExtentStyle = { compressed: subformat === "streamOptimized", zeroedGrain };
  const extents: { sectors: number; type: "FLAT" | "SPARSE"; filename: string }[] = [];
  const name = baseName(context.filename);
  if (!flat && !split) {
    yield* makeSparse(context.file, size, style);
    extents.push({ sectors: size / SECTOR, type: "SPARSE", filename: name });
  }
  const dot = name.lastIndexOf(".");
  const prefix = dot < 0 ? name : name.slice(0, dot);
  const suffix = dot < 0 ? "" : name.slice(dot);
  for (let made = !flat && !split ? size : 0, index = 1; made < size; index++) {
    const bytes = split ? Math.min(SPLIT_BYTES, size - made) : size;
    const filename = split
      ? `${prefix}-${flat ? "f" : "s"}${String(index).padStart(3, "0")}${suffix}`
      : `${prefix}-flat${suffix}`;
    const { extents: given } = context;
    const file = given === undefined ? yield* context.createSibling(filename) : yield* takeExtent(given, index - 1);
    if (flat) yield* truncate(file, bytes, { preallocation: "off" });
    else yield* makeSparse(file, bytes, style);
    extents.push({
      sectors: bytes / SECTOR,
      type: flat ? "FLAT" : "SPARSE",
      filename: given === undefined ? filename : baseName(file.filename),
    });
    made += bytes;
  }
  if ((context.extents?.length ?? 0) > (flat || split ? extents.length : 0))
    throw invalid("List of extents contains unused extents");
  const text = encodeText(
    formatDescriptor({
      cid: newCid(),
      parentCid,
      createType: subformat,
      parentFileName: backingFile === "" ? null : backingFile,
      extents,
      hardwareVersion,
      adapterType,
      toolsVersion,
      size,
    }),
  );
  const embedded = !flat && !split;
  if (embedded && text.length > EMBEDDED_DESCRIPTOR_BYTES)
    throw invalid(`The descriptor has ${text.length} bytes, more than there is room for`);
  yield* writeGrow(context.file, text, embedded ? EMBEDDED_DESCRIPTOR_OFFSET : 0);
}

/** A node that the caller has for an extent, empty. */
function* takeExtent(given: readonly Node[], index: number): Op<Node> {
  const node = given[index];
  if (node === undefined) throw invalid(`Extent [${index}] not specified`);
  yield* truncate(node, 0, { preallocation: "off" });
  return node;
}

function* readParentCid(context: CreateContext, backingFile: string): Op<number> {
  const parent = yield* context.openImage(resolveReference(context.filename, backingFile), null);
  try {
    const { impl, driver } = parent;
    if (!(impl instanceof VmdkImage)) throw invalid(`Invalid backing file format: ${driver.name}. Must be vmdk`);
    return impl.contentId.cid;
  } finally {
    yield* parent.unref();
  }
}

interface ExtentStyle {
  compressed: boolean;
  zeroedGrain: boolean;
}

/** Header, both grain directories and their empty tables. */
function* makeSparse(file: Node, size: number, style: ExtentStyle): Op<void> {
  const capacity = size / SECTOR;
  const tables = divCeil(divCeil(capacity, GRAIN_SECTORS), TABLE_ENTRIES);
  const directorySectors = divCeil(tables * 4, SECTOR);
  const directories = 1 + EMBEDDED_DESCRIPTOR_BYTES / SECTOR;
  const half = directorySectors + TABLE_SECTORS * tables;
  const overhead = alignUp(directories + 2 * half, GRAIN_SECTORS);
  // As in QEMU the disk may be larger than the 2 TiB of data the extent can hold: writing ends there.
  if (tables > MAX_DIRECTORY_ENTRIES)
    throw new BlockError("ERR_TOO_LARGE", "The image is too large for a VMDK of one sparse extent");
  const header = encodeSparseHeader({
    version: style.compressed ? 3 : style.zeroedGrain ? 2 : 1,
    flags:
      Flag.redundantDirectory |
      Flag.newlineDetect |
      (style.compressed ? Flag.compressed | Flag.markers : 0) |
      (style.zeroedGrain ? Flag.zeroedGrain : 0),
    capacity,
    grainSectors: GRAIN_SECTORS,
    descriptorOffset: 1,
    descriptorSectors: EMBEDDED_DESCRIPTOR_BYTES / SECTOR,
    tableEntries: TABLE_ENTRIES,
    redundantDirectory: directories,
    directory: directories + half,
    overhead,
    compressed: style.compressed,
  });
  yield* writeGrow(file, header, 0);
  yield* truncate(file, overhead * SECTOR, { preallocation: "off" });
  for (const at of [directories, directories + half]) yield* writeDirectory(file, at * SECTOR, at + directorySectors, tables);
}

/** Entries of a directory written at a time. */
const DIRECTORY_CHUNK = 65536;

function* writeDirectory(file: Node, offset: number, firstTable: number, tables: number): Op<void> {
  for (let first = 0; first < tables; first += DIRECTORY_CHUNK) {
    const count = Math.min(DIRECTORY_CHUNK, tables - first);
    const bytes = new Uint8Array(count * 4);
    const view = viewOf(bytes);
    for (let i = 0; i < count; i++) view.setUint32(i * 4, firstTable + (first + i) * TABLE_SECTORS, true);
    yield* writeGrow(file, bytes, offset + first * 4);
  }
}
