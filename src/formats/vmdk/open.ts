/** Opening a VMDK: what the descriptor says, each extent from its file, in order. */
import { startsWith } from "../../base/bytes.js";
import { BlockError, errnoError, prefixError } from "../../base/error.js";
import type { OpenContext } from "../../block/context.js";
import { readBytes } from "../../block/io.js";
import type { Child, Node } from "../../block/node.js";
import { resolveIn } from "../../block/node-filename.js";
import type { Op } from "../../block/op.js";
import { ContentId } from "./content-id.js";
import { NO_CID, parseDescriptor, type Descriptor, type ExtentLine } from "./descriptor.js";
import { FlatExtent, ZeroExtent, type VmdkExtent } from "./extent.js";
import { VmdkImage } from "./image.js";
import {
  COWD_MAGIC,
  EMBEDDED_DESCRIPTOR_BYTES,
  EMBEDDED_DESCRIPTOR_OFFSET,
  HOSTED_MAGIC,
  MAX_DESCRIPTOR_BYTES,
  SECTOR,
} from "./layout.js";
import { embeddedDescriptorPlace, openSparse, type OpenedExtent, type SparseContext } from "./open-sparse.js";
import { openSeSparse } from "./open-sesparse.js";

/** Descriptors of these types are opened; the others name raw devices. */
const TYPES: ReadonlySet<string> = new Set([
  "monolithicFlat",
  "vmfs",
  "vmfsSparse",
  "seSparse",
  "twoGbMaxExtentSparse",
  "twoGbMaxExtentFlat",
  "monolithicSparse",
  "streamOptimized",
  "vmfsThin",
  "vmfsPreallocated",
  "vmfsEagerZeroedThick",
  "custom",
]);
const DEVICES: ReadonlySet<string> = new Set([
  "fullDevice",
  "partitionedDevice",
  "vmfsRaw",
  "vmfsRawDeviceMap",
  "vmfsRDM",
  "vmfsPassthroughRawDeviceMap",
  "vmfsRDMP",
]);
const EXTENT_TYPES: ReadonlySet<string> = new Set(["FLAT", "VMFS", "SPARSE", "VMFSSPARSE", "SESPARSE", "ZERO"]);

/** @param child the edge to the image's file */
export function* openImage(context: OpenContext, child: Child): Op<VmdkImage> {
  const { node, flags } = context;
  const file = child.node;
  if (file.size < 4) throw new BlockError("ERR_NOT_THIS_FORMAT", "File is too small, not a valid image");
  const magic = yield* readBytes(file, 0, 4);
  const hosted = startsWith(magic, HOSTED_MAGIC);
  let opened: OpenedImage;
  if (hosted || startsWith(magic, COWD_MAGIC)) {
    const envelope = hosted ? yield* embeddedDescriptorPlace(file) : null;
    opened =
      envelope === null
        ? yield* openMonolithic(context, child)
        : yield* openDescribed(context, yield* readDescriptor(file, envelope), file, envelope, MAX_DESCRIPTOR_BYTES);
  } else {
    opened = yield* openDescribed(context, yield* readDescriptor(file, 0), file, 0, null);
  }
  const last = opened.extents[opened.extents.length - 1];
  if (last !== undefined && !Number.isSafeInteger(last.end)) throw errnoError("EFBIG", "Could not refresh total sector count");
  const { parentFileName } = opened.descriptor;
  const image = new VmdkImage({
    ...opened,
    node,
    backingFile: parentFileName === null ? null : { filename: parentFileName, format: "vmdk" },
  });
  if (flags.write) image.refuseWrite();
  return image;
}

interface OpenedImage {
  descriptor: Descriptor;
  extents: VmdkExtent[];
  withMarkers: Set<VmdkExtent>;
  createType: string;
  contentId: ContentId;
  /** Why it must not be written. */
  obstacles: BlockError[];
}

/** `parseDescriptor` stops at the first NUL. */
function* readDescriptor(file: Node, offset: number): Op<Descriptor> {
  return parseDescriptor(yield* readBytes(file, offset, Math.min(MAX_DESCRIPTOR_BYTES, file.size - offset)));
}

/** Refuses now, or remembers for the day the image is to become writable. */
function obstacleTo(context: OpenContext, obstacles: BlockError[]): (reason: BlockError) => void {
  return (reason) => {
    if (context.flags.write) throw reason;
    obstacles.push(reason);
  };
}

function sparseContext(
  context: OpenContext,
  child: Child,
  start: number,
  type: string,
  extents: number,
  obstacles: BlockError[],
): SparseContext {
  const { node, environment } = context;
  return {
    node,
    child,
    refuseWrite: obstacleTo(context, obstacles),
    warn: environment.warn,
    budget: environment.memoryBudget / extents,
    start,
    type,
  };
}

function* openMonolithic(context: OpenContext, child: Child): Op<OpenedImage> {
  const file = child.node;
  const obstacles: BlockError[] = [];
  const { extent, hasMarkers } = yield* openSparse(sparseContext(context, child, 0, "", 1, obstacles));
  const isCowd = startsWith(yield* readBytes(file, 0, 4), COWD_MAGIC);
  const bytes = yield* readBytes(file, EMBEDDED_DESCRIPTOR_OFFSET, EMBEDDED_DESCRIPTOR_BYTES);
  // Server extents are described by another file.
  const descriptor = isCowd
    ? { cid: NO_CID, parentCid: NO_CID, createType: null, parentFileName: null, extents: [] }
    : parseDescriptor(bytes);
  return {
    descriptor,
    extents: extent.end > extent.start ? [extent] : [],
    withMarkers: new Set(hasMarkers ? [extent] : []),
    createType: isCowd ? "vmfsSparse" : extent.compressed ? "streamOptimized" : "monolithicSparse",
    contentId: new ContentId(descriptor, file, EMBEDDED_DESCRIPTOR_OFFSET, EMBEDDED_DESCRIPTOR_BYTES),
    obstacles,
  };
}

function* openDescribed(
  context: OpenContext,
  descriptor: Descriptor,
  file: Node,
  offset: number,
  room: number | null,
): Op<OpenedImage> {
  const { createType } = descriptor;
  if (createType === null) throw new BlockError("ERR_NOT_THIS_FORMAT", "invalid VMDK image descriptor");
  if (!TYPES.has(createType)) {
    const what = DEVICES.has(createType) ? ": it stands for a device of the host" : "";
    throw new BlockError("ERR_UNSUPPORTED", `Unsupported image type '${createType}'${what}`);
  }
  const lines = descriptor.extents.filter(({ type }) => EXTENT_TYPES.has(type));
  if (lines.length === 0) throw new BlockError("ERR_CORRUPT", "invalid VMDK image descriptor: it names no extents");
  checkTotal(lines);
  checkNames(context, file, lines);
  const files = new ExtentFiles(context);
  const opened: OpenedImage = {
    descriptor,
    extents: [],
    withMarkers: new Set(),
    createType,
    contentId: new ContentId(descriptor, file, offset, room === null ? null : Math.min(room, file.size - offset)),
    obstacles: [],
  };
  let start = 0;
  for (let i = 0; i < lines.length; i++) {
    const extent = yield* openExtent(context, files, lines, i, start, opened);
    opened.extents.push(extent);
    start = extent.end;
    if (!Number.isSafeInteger(start)) throw errnoError("EFBIG", "Could not refresh total sector count");
  }
  return opened;
}

/** What people call the types that have short names in descriptors. */
const TYPE_NAMES: Readonly<Record<string, string>> = {
  seSparse: "ESX seSparse",
  vmfs: "ESX flat",
  vmfsSparse: "ESX server sparse",
};

/** Sizes that cannot be are refused before a file is opened. */
function checkTotal(lines: readonly ExtentLine[]): void {
  let sectors = 0;
  for (const line of lines) sectors += line.sectors;
  if (!Number.isSafeInteger(sectors * SECTOR)) throw errnoError("EFBIG", "Could not refresh total sector count");
}

/** Names relative to the descriptor need a directory that it is in. */
function checkNames(context: OpenContext, file: Node, lines: readonly ExtentLine[]): void {
  lines.forEach(({ filename }, index) => {
    if (filename === "" || `extents.${index}` in context.options) return;
    try {
      resolveIn(file, filename);
    } catch (error) {
      throw prefixError(`Cannot use relative paths with VMDK descriptor file '${file.filename}': `, error);
    }
  });
}

/** The files of the extents, each opened once however often it is named. */
class ExtentFiles {
  readonly #context: OpenContext;
  readonly #open = new Map<string, Child>();

  constructor(context: OpenContext) {
    this.#context = context;
  }

  *get(line: ExtentLine, index: number): Op<Child> {
    const known = this.#open.get(line.filename);
    if (known !== undefined) return known;
    const name = `extents.${index}`;
    const flat = line.type === "FLAT" || line.type === "VMFS";
    const child =
      name in this.#context.options
        ? yield* this.#context.openChild(name, "data")
        : yield* this.#context.openReference(name, flat ? "data" : "image", {
            kind: "extent",
            filename: line.filename,
            format: null,
          });
    this.#open.set(line.filename, child);
    return child;
  }
}

function* openExtent(
  context: OpenContext,
  files: ExtentFiles,
  lines: readonly ExtentLine[],
  index: number,
  start: number,
  image: OpenedImage,
): Op<VmdkExtent> {
  const line = lines[index]!;
  const name = line.filename === "" ? "" : ` '${line.filename}'`;
  const where = `VMDK, ${TYPE_NAMES[image.createType] ?? image.createType}, extent ${index + 1}${name}`;
  if (line.access === "NOACCESS") throw new BlockError("ERR_UNSUPPORTED", `${where} allows no access`);
  if (line.access === "RDONLY") obstacleTo(context, image.obstacles)(new BlockError("ERR_READ_ONLY", `${where} is read-only`));
  if (line.type === "ZERO") return new ZeroExtent(start, line.sectors * SECTOR);
  try {
    const child = yield* files.get(line, index);
    if (line.type === "FLAT" || line.type === "VMFS")
      return new FlatExtent(start, line.sectors * SECTOR, child, line.type, line.offset * SECTOR);
    const sparse = sparseContext(context, child, start, line.type, lines.length, image.obstacles);
    const opened: OpenedExtent =
      line.type === "SESPARSE" ? { extent: yield* openSeSparse(sparse), hasMarkers: false } : yield* openSparse(sparse);
    if (opened.hasMarkers) image.withMarkers.add(opened.extent);
    return opened.extent;
  } catch (error) {
    const missing = error instanceof BlockError && error.code === "ERR_NOT_FOUND";
    throw prefixError(`${where} ${missing ? "is missing" : "cannot be opened"}: `, error);
  }
}
