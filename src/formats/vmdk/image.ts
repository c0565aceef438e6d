/** An open VMDK: its extents, in guest order, behind one node. */
import { BlockError } from "../../base/error.js";
import type { BackingLink, BlockDriverInfo, MappedImpl, Miss, SpecialExtent, WriteFlags, WritePlan } from "../../block/driver.js";
import { ExtentKind, type ExtentList } from "../../block/extent.js";
import { backingChain, skipFilters } from "../../block/graph.js";
import { resolveIn } from "../../block/node-filename.js";
import { openNode } from "../../block/open.js";
import { flush, writeGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { Mutex, WaitQueue, WaitRequest, type Op } from "../../block/op.js";
import type { CheckOptions, ImageCheck, ImageInfoSpecific } from "../../block/types.js";
import type { Compressor } from "../../codec/codec.js";
import { checkGrains } from "./check.js";
import { GrainReader, packGrain } from "./compressed.js";
import type { ContentId } from "./content-id.js";
import type { VmdkExtent, VmdkExtentInfo } from "./extent.js";
import { MAX_BUFFERED_GRAIN, SECTOR } from "./layout.js";
import { SparseExtent } from "./sparse-extent.js";

export interface VmdkImageOptions {
  node: Node;
  extents: readonly VmdkExtent[];
  /** Extents whose grains carry markers. */
  withMarkers: ReadonlySet<VmdkExtent>;
  createType: string;
  contentId: ContentId;
  backingFile: BackingLink | null;
  /** Why it must not be written; empty where it may be. */
  obstacles: readonly BlockError[];
}

class ExtentMiss implements Miss {
  readonly extent: VmdkExtent;
  readonly inner: Miss;
  constructor(extent: VmdkExtent, inner: Miss) {
    this.extent = extent;
    this.inner = inner;
  }
  get offset(): number {
    return this.inner.offset;
  }
}

class ExtentPlan implements WritePlan {
  readonly extent: VmdkExtent;
  readonly inner: WritePlan;
  constructor(extent: VmdkExtent, inner: WritePlan) {
    this.extent = extent;
    this.inner = inner;
  }
  get length(): number {
    return this.inner.length;
  }
  get pieces(): WritePlan["pieces"] {
    return this.inner.pieces;
  }
}

export class VmdkImage implements MappedImpl {
  readonly shape = "mapped";
  readonly size: number;
  readonly allocationUnit: number;
  readonly zeroUnit: number;
  readonly discardUnit: number = SECTOR;
  backingFile: BackingLink | null;
  readonly backingFormats: readonly string[] = ["vmdk"];
  /** Data extents may be holes of the file below: where the extents are files as they are. */
  readonly recurseStatus: boolean;
  readonly compressedOnly?: boolean;
  readonly contentId: ContentId;
  readonly extents: readonly VmdkExtent[];
  readonly #node: Node;
  readonly #withMarkers: ReadonlySet<VmdkExtent>;
  readonly #createType: string;
  readonly #obstacles: readonly BlockError[];
  readonly #reader: GrainReader;
  #compressor: Compressor | null = null;
  #parentChecked = false;
  /** Compressed grains go to the file in the order their writes began. */
  #nextTicket = 0;
  #turn = 0;
  readonly #turns = new WaitQueue();
  readonly #cidLock = new Mutex();

  constructor(options: VmdkImageOptions) {
    this.#node = options.node;
    this.extents = options.extents;
    this.#withMarkers = options.withMarkers;
    this.#createType = options.createType;
    this.#obstacles = options.obstacles;
    this.contentId = options.contentId;
    this.backingFile = options.backingFile;
    this.#reader = new GrainReader(options.node.environment.codecs);
    this.size = this.extents.length === 0 ? 0 : this.extents[this.extents.length - 1]!.end;
    this.allocationUnit = this.extents.reduce((unit, { grainSize }) => leastCommonMultiple(unit, grainSize ?? 1), 1);
    this.zeroUnit = this.allocationUnit;
    const [first, ...others] = this.extents.map(({ compressed }) => compressed);
    if (first !== undefined && others.every((compressed) => compressed === first)) this.compressedOnly = first;
    this.recurseStatus = this.extents.every(({ grainSize }) => grainSize === null);
  }

  /** Throws where the image can only be read. */
  refuseWrite(): void {
    if (this.#obstacles[0] !== undefined) throw this.#obstacles[0];
    const unit = this.allocationUnit;
    const astray = this.extents.findIndex(({ start, grainSize }) => grainSize !== null && start % unit !== 0);
    if (unit <= MAX_BUFFERED_GRAIN && astray < 0) return;
    const why =
      unit > MAX_BUFFERED_GRAIN
        ? `grains of ${unit} bytes`
        : `extent ${astray + 1} does not begin at a multiple of ${unit} bytes`;
    throw new BlockError("ERR_UNSUPPORTED", `VMDK: the image can only be opened read-only: ${why}`, { errno: "EACCES" });
  }

  // eslint-disable-next-line require-yield
  *accessChanging(write: boolean): Op<void> {
    if (write) this.refuseWrite();
    else this.contentId.endSession();
  }

  #extentAt(offset: number): VmdkExtent {
    let low = 0;
    let high = this.extents.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (offset < this.extents[middle]!.end) high = middle;
      else low = middle + 1;
    }
    return this.extents[low]!;
  }

  // ---- reading ----

  map(offset: number, length: number, out: ExtentList): Miss | null {
    const end = offset + length;
    const before = out.count;
    for (let at = offset; at < end;) {
      const extent = this.#extentAt(at);
      const stop = Math.min(end, extent.end);
      const miss = extent.map(at, stop, out);
      if (!this.#parentChecked) this.#checkParent(out);
      if (miss !== null) return new ExtentMiss(extent, miss);
      if (out.end < stop || out.count - before > 64) return null;
      at = stop;
    }
    return null;
  }

  *load(miss: Miss): Op<void> {
    const { extent, inner } = miss as ExtentMiss;
    yield* extent.load!(inner);
  }

  /** Grains are only taken from the parent that the image was made from: its content ID says whether it has changed since. */
  #checkParent(out: ExtentList): void {
    const backing = this.#node.backing;
    if (backing === null) return;
    let found = false;
    for (let i = 0; i < out.count && !found; i++) found = out.at(i).kind === ExtentKind.unallocated;
    if (!found) return;
    const parent = skipFilters(backing).impl;
    const cid = parent instanceof VmdkImage ? parent.contentId.cid : null;
    if (cid !== this.contentId.parentCid) {
      const has = cid === null ? "is no VMDK and has no content ID" : `has content ID ${cid.toString(16)}`;
      throw new BlockError(
        "ERR_CORRUPT",
        `VMDK: the backing file '${backing.filename}' ${has}, but the image was made from ${this.contentId.parentCid.toString(16)}`,
        {
          errno: "EINVAL",
          node: this.#node.nodeName,
        },
      );
    }
    this.#parentChecked = true;
  }

  *followBacking(): Op<void> {
    const { backing } = this.#node;
    const parent = backing === null ? null : skipFilters(backing).impl;
    if (parent instanceof VmdkImage) yield* this.contentId.follow(parent.contentId);
  }

  /** Rewrites the parent in the descriptor. The file must be there: images name their parent by its content ID, too. */
  *changeBackingFile(filename: string | null, format: string | null): Op<void> {
    if (filename === null || filename === "") {
      yield* this.contentId.setParent(null);
      this.backingFile = null;
      return;
    }
    if (format !== null && format !== "vmdk") throw notParent("backing_file must be a vmdk image");
    if (/["\r\n\0]/.test(filename)) throw notParent("The name of a parent cannot hold quotes or line ends in a VMDK");
    if (this.extents.every(({ grainSize }) => grainSize === null)) throw notParent("Flat image can't have backing file");
    const cid = yield* this.#cidOf(resolveIn(this.#node, filename));
    yield* this.contentId.setParent({ cid, filename });
    this.backingFile = { filename, format: "vmdk" };
    this.#parentChecked = false;
  }

  /** The content ID of an image of the present chain, or of any other. */
  *#cidOf(filename: string): Op<number> {
    const layer = backingChain(this.#node).find((node) => node.filename === filename)?.impl;
    if (layer instanceof VmdkImage) return layer.contentId.cid;
    const flags = { noBacking: true, noIO: true, forceShare: true };
    const node = yield* openNode(this.#node.environment, { filename, driver: "vmdk", flags });
    try {
      return (node.impl as VmdkImage).contentId.cid;
    } finally {
      yield* node.unref();
    }
  }

  *readSpecial(special: SpecialExtent, at: number, into: Uint8Array): Op<void> {
    const extent = this.#extentAt(at) as SparseExtent;
    yield* this.#reader.read(extent, this.#withMarkers.has(extent), special, at, into);
  }

  *readSpecials(specials: readonly SpecialExtent[], base: number, into: Uint8Array): Op<void> {
    const place = ({ start, length }: SpecialExtent): Uint8Array => into.subarray(start - base, start - base + length);
    const whole = new Map<SparseExtent, SpecialExtent[]>();
    for (const special of specials) {
      const extent = this.#extentAt(special.start) as SparseExtent;
      const isWhole = (special.start - extent.start) % extent.grainSize === 0 && special.length === extent.grainSize;
      const row = whole.get(extent);
      if (!isWhole || !this.#withMarkers.has(extent)) yield* this.readSpecial(special, special.start, place(special));
      else if (row === undefined) whole.set(extent, [special]);
      else row.push(special);
    }
    for (const [extent, grains] of whole) yield* this.#reader.readMany(extent, grains, place);
  }

  // ---- writing ----

  *#beginWriting(): Op<void> {
    if (this.contentId.isNew) return;
    const unlock = yield* this.#cidLock.acquire();
    try {
      if (!this.contentId.isNew) yield* this.contentId.renew();
    } finally {
      unlock();
    }
  }

  *prepareWrite(offset: number, length: number): Op<WritePlan> {
    const extent = this.#extentAt(offset);
    if (extent.compressed) {
      throw new BlockError("ERR_UNSUPPORTED", "streamOptimized VMDK images can only be written in whole compressed grains", {
        errno: "EINVAL",
        node: this.#node.nodeName,
        offset,
      });
    }
    yield* this.#beginWriting();
    return new ExtentPlan(extent, yield* extent.prepareWrite(offset, Math.min(length, extent.end - offset)));
  }
  *commitWrite(plan: WritePlan): Op<void> {
    const { extent, inner } = plan as ExtentPlan;
    if (extent.commitWrite !== undefined) yield* extent.commitWrite(inner);
  }
  *abortWrite(plan: WritePlan): Op<void> {
    const { extent, inner } = plan as ExtentPlan;
    if (extent.abortWrite !== undefined) yield* extent.abortWrite(inner);
  }

  *writeCompressed(bytes: Uint8Array, offset: number): Op<void> {
    const extent = this.#extentAt(offset);
    if (!(extent instanceof SparseExtent) || !extent.compressed || !this.#withMarkers.has(extent)) {
      throw new BlockError("ERR_UNSUPPORTED", "Compression not supported for this file format", {
        errno: "ENOTSUP",
        node: this.#node.nodeName,
      });
    }
    yield* this.#refuseStored(extent, offset);
    const ticket = this.#nextTicket++;
    try {
      const compressor = (this.#compressor ??= this.#node.environment.codecs.compressor("zlib", { windowBits: 15 }));
      const packed = yield* packGrain(compressor, bytes, (offset - extent.start) / SECTOR);
      while (this.#turn !== ticket) yield new WaitRequest(this.#turns);
      yield* this.#beginWriting();
      yield* this.#refuseStored(extent, offset);
      const host = yield* extent.reserve(packed.length);
      yield* writeGrow(extent.file, packed, host);
      yield* extent.link(offset, host);
    } finally {
      // A failed one gives up its turn too, when it comes.
      while (this.#turn !== ticket) yield new WaitRequest(this.#turns);
      this.#turn++;
      this.#turns.wakeAll();
    }
  }

  *#refuseStored(extent: SparseExtent, offset: number): Op<void> {
    if (!(yield* extent.isStored(offset))) return;
    throw new BlockError("ERR_IO", "Could not write to allocated cluster for streamOptimized", {
      node: this.#node.nodeName,
      offset,
    });
  }

  *writeZeroes(offset: number, length: number, flags: WriteFlags): Op<void> {
    // First a look whether all of it can be done, so that nothing is done twice.
    for (const dryRun of [true, false]) {
      if (!dryRun) yield* this.#beginWriting();
      for (let at = offset; at < offset + length;) {
        const extent = this.#extentAt(at);
        const stop = Math.min(offset + length, extent.end);
        yield* extent.writeZeroes(at, stop - at, flags, dryRun);
        at = stop;
      }
    }
  }

  *discard(offset: number, length: number): Op<void> {
    yield* this.#beginWriting();
    for (let at = offset; at < offset + length;) {
      const extent = this.#extentAt(at);
      const stop = Math.min(offset + length, extent.end);
      yield* extent.discard(at, stop - at);
      at = stop;
    }
  }

  *flush(): Op<void> {
    yield* this.contentId.flush();
    const flat = new Set<Node>();
    for (const extent of this.extents) {
      if (extent.grainSize !== null) yield* extent.flush();
      else if (extent.file !== null) flat.add(extent.file);
    }
    for (const file of flat) yield* flush(file);
  }

  *close(): Op<void> {
    if (!this.#node.readOnly) yield* this.flush();
  }

  // ---- what qemu-img shows ----

  blockInfo(): BlockDriverInfo {
    const first = this.extents[0];
    const alike =
      first !== undefined &&
      this.extents.every((extent) => extent.compressed === first.compressed && extent.grainSize === first.grainSize);
    if (!alike || first.grainSize === null) return { dirty: false };
    return { clusterSize: first.grainSize, dirty: false };
  }

  // eslint-disable-next-line require-yield
  *specificInfo(): Op<ImageInfoSpecific> {
    const extents = this.extents.map((extent): VmdkExtentInfo => ({
      ...(extent.compressed ? { compressed: true } : {}),
      "virtual-size": extent.end - extent.start,
      filename: extent.file?.filename ?? "",
      ...(extent.grainSize === null ? {} : { "cluster-size": extent.grainSize }),
      format: extent.type,
    }));
    const data = { cid: this.contentId.cid, "parent-cid": this.contentId.parentCid, "create-type": this.#createType, extents };
    return { type: "vmdk", data };
  }

  *check(options: CheckOptions): Op<ImageCheck> {
    if (options.fix !== "none")
      throw new BlockError("ERR_UNSUPPORTED", "This image format does not support repairs", {
        errno: "ENOTSUP",
        node: this.#node.nodeName,
      });
    return yield* checkGrains(this.extents, options);
  }
}

const notParent = (message: string): BlockError => new BlockError("ERR_UNSUPPORTED", message, { errno: "ENOTSUP" });

function leastCommonMultiple(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y > 0) [x, y] = [y, x % y];
  return (a / x) * b;
}
