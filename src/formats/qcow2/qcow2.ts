/** The qcow2 driver. */
import { encodeText } from "../../base/bytes.js";
import { BlockError, prefixError, strerror, toBlockError } from "../../base/error.js";
import type { OpenContext } from "../../block/context.js";
import type {
  BackingLink,
  BitmapStore,
  BlockDriverInfo,
  Driver,
  MappedImpl,
  Miss,
  SnapshotVerbs,
  SpecialExtent,
  TruncateOptions,
  WriteFlags,
  WritePlan,
} from "../../block/driver.js";
import { debugEvent } from "../../block/debug.js";
import type { ExtentList } from "../../block/extent.js";
import { flush, readBytes, writeGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { imageName } from "../../block/node-filename.js";
import type { Op } from "../../block/op.js";
import type { CheckOptions, ImageCheck, ImageInfoSpecific } from "../../block/types.js";
import { EXTENT_STRIDE } from "../../kernel/layout.js";
import { createKernel } from "../../kernel/kernel.js";
import { RegionPlan } from "../../kernel/memory.js";
import type { PayloadCipher } from "../shared/payload-cipher.js";
import { TableCache } from "../shared/table-cache.js";
import { Allocator } from "./allocator.js";
import { AMEND_OPTIONS, amendQcow2 } from "./amend.js";
import { dropStaleBitmaps, PersistentBitmaps } from "./bitmaps.js";
import { checkImage } from "./check.js";
import { isIncompressible, writeCompressed } from "./compressed.js";
import { CREATE_OPTIONS, createQcow2 } from "./create.js";
import { makeEmpty } from "./empty.js";
import { openEncryption, type Encryption } from "./encryption.js";
import { isQcow2, type Header } from "./header.js";
import { Qcow2 } from "./image.js";
import { specificInfo } from "./info.js";
import { Autoclear, CryptMethod, Incompatible, MAX_BACKING_NAME } from "./layout.js";
import { loadMiss, mapRange, SCAN_RECORDS } from "./map.js";
import { readCompressed, readCompressedClusters } from "./read-compressed.js";
import { measureQcow2 } from "./measure.js";
import { checkTables, openData, readHeader } from "./open.js";
import { MUTABLE_OPTIONS, RUNTIME_OPTIONS, takeOptions } from "./options.js";
import { hasPreallocatedMetadata } from "./preallocated.js";
import { resize } from "./resize.js";
import { planQcow2Stream } from "./stream.js";
import { Snapshots } from "./snapshots.js";
import { abortWrite, commitWrite, prepareWrite } from "./write.js";
import { mapVmState, vmStateOffset, writeVmState } from "./vm-state.js";
import { discardRange, zeroRange } from "./zero.js";

class Qcow2Impl implements MappedImpl {
  readonly shape = "mapped";
  readonly tellsFlush = true;
  readonly image: Qcow2;
  readonly encryption: Encryption | null;
  // Present where the image is encrypted only: their presence makes the chokepoint work in sectors and on copies.
  declare readonly decrypt?: PayloadCipher["decrypt"];
  declare readonly encrypt?: PayloadCipher["encrypt"];
  declare readonly transformUnit?: number;

  constructor(image: Qcow2, encryption: Encryption | null) {
    this.image = image;
    this.encryption = encryption;
    if (encryption !== null) Object.assign(this, encryption.cipher, { transformUnit: 512 });
  }

  get size(): number {
    return this.image.size;
  }
  get allocationUnit(): number {
    return this.image.clusterSize;
  }
  get zeroUnit(): number {
    return this.image.subclusterSize;
  }
  get backingFile(): BackingLink | null {
    const { backingFile, backingFormat } = this.image.header;
    return backingFile === null ? null : { filename: backingFile, format: backingFormat };
  }
  /** Holes below are looked for only where the metadata was preallocated; decided at the first query. */
  *decideRecursion(): Op<boolean> {
    return (this.#recurse ??= yield* hasPreallocatedMetadata(this.image));
  }
  #recurse: boolean | null = null;

  map(offset: number, length: number, out: ExtentList): Miss | null {
    return mapRange(this.image, offset, length, out);
  }
  load(miss: Miss): Op<void> {
    return loadMiss(this.image, miss);
  }
  readSpecial(extent: SpecialExtent, at: number, into: Uint8Array): Op<void> {
    return readCompressed(this.image, extent, at, into);
  }
  readSpecials(extents: readonly SpecialExtent[], base: number, into: Uint8Array): Op<void> {
    return readCompressedClusters(this.image, extents, base, into);
  }
  mapVmState(offset: number, length: number, out: ExtentList): Miss | null {
    return mapVmState(this.image, offset, length, out);
  }
  writeVmState(bytes: Uint8Array, offset: number): Op<void> {
    return writeVmState(this.image, this, bytes, offset);
  }
  prepareWrite(offset: number, length: number): Op<WritePlan> {
    return prepareWrite(this.image, offset, length);
  }
  commitWrite(plan: WritePlan): Op<void> {
    return commitWrite(this.image, plan);
  }
  abortWrite(plan: WritePlan): Op<void> {
    return abortWrite(this.image, plan);
  }
  writeCompressed(bytes: Uint8Array, offset: number): Op<void> {
    if (this.encryption !== null) throw compressionRefused(this.image);
    return writeCompressed(this.image, this, bytes, offset);
  }
  isIncompressible(bytes: Uint8Array): boolean {
    return this.encryption === null && isIncompressible(this.image, bytes);
  }
  writeZeroes(offset: number, length: number, flags: WriteFlags): Op<void> {
    return zeroRange(this.image, offset, length, flags);
  }
  discard(offset: number, length: number): Op<void> {
    return discardRange(this.image, offset, length);
  }
  flush(): Op<void> {
    return this.image.flush();
  }
  truncate(size: number, options: TruncateOptions): Op<void> {
    this.#recurse = null;
    return resize(this.image, size, options);
  }
  get snapshots(): SnapshotVerbs {
    return this.image.snapshots!;
  }
  check(options: CheckOptions): Op<ImageCheck> {
    return checkImage(this.image, options);
  }

  *changeBackingFile(backingFile: string | null, backingFormat: string | null): Op<void> {
    const image = this.image;
    const release = yield* image.lock.acquire();
    try {
      yield* image.beginModifying();
      const name = backingFile === "" ? null : backingFile;
      if (name !== null) refuseBackingFile(image, name);
      yield* image.updateHeader({ backingFile: name, backingFormat: name === null ? null : backingFormat });
      yield* image.barrier();
    } finally {
      release();
    }
  }

  amend(options: Readonly<Record<string, unknown>>, progress: (done: number, total: number) => void, force: boolean): Op<void> {
    return amendQcow2(this.image, this.encryption, options, progress, force);
  }
  makeEmpty(): Op<void> {
    return makeEmpty(this.image);
  }

  // eslint-disable-next-line require-yield
  *specificInfo(): Op<ImageInfoSpecific> {
    return specificInfo(this.image, this.encryption);
  }
  blockInfo(): BlockDriverInfo {
    const { header } = this.image;
    return {
      clusterSize: this.image.clusterSize,
      vmStateOffset: vmStateOffset(this.image),
      dirty: (header.incompatible.lo & Incompatible.dirty) !== 0,
      ...(header.cryptMethod === CryptMethod.none ? {} : { encrypted: true }),
      ...(this.image.extended ? { subclusterSize: this.image.subclusterSize } : {}),
    };
  }

  get bitmaps(): BitmapStore | undefined {
    return this.image.bitmaps ?? undefined;
  }

  /** Becoming read-only leaves the file as closing would. */
  *accessChanging(write: boolean): Op<void> {
    const { image } = this;
    yield* image.bitmaps?.accessChanging(write) ?? nothing();
    if (!write && !image.corrupt) yield* image.settle();
  }

  *close(): Op<void> {
    const image = this.image;
    if (image.closed) return;
    image.closed = true;
    // Found in the last request: nobody has marked it yet.
    yield* image.markCorrupt();
    if (!image.flags.write || image.corrupt) return;
    let lost: unknown;
    try {
      yield* image.bitmaps?.store() ?? nothing();
    } catch (error) {
      lost = prefixError(`Lost persistent bitmaps during inactivation of node '${image.node.nodeName}': `, error);
    }
    try {
      yield* image.settle();
    } catch (error) {
      throw lost ?? (yield* flushFailure(image, error));
    }
    if (lost !== undefined) throw lost;
  }
}

/** What was written could not be made durable when the image was closed, in QEMU's words: a line for each cache. */
function* flushFailure(image: Qcow2, error: unknown): Op<BlockError> {
  const cause = toBlockError(error);
  if (image.hasDataFile && (yield* succeeds(flush(image.file)))) return cause; // it was the data file's fault
  const lines = ["L2 table", "refcount block"].map((cache) => `Failed to flush the ${cache} cache: ${strerror(cause.errno)}`);
  return new BlockError(cause.code, lines.join("\n"), {
    errno: cause.errno,
    node: image.node.nodeName,
    operation: "inactivate",
    cause,
  });
}

function* succeeds(op: Op<void>): Op<boolean> {
  try {
    yield* op;
    return true;
  } catch {
    return false;
  }
}

// eslint-disable-next-line require-yield
function* nothing(): Op<void> {}

function refuseBackingFile(image: Qcow2, name: string): void {
  if (image.hasDataFile && (image.header.autoclear.lo & Autoclear.rawDataFile) !== 0) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "Backing file and data-file-raw cannot be used at the same time", {
      errno: "EINVAL",
    });
  }
  if (encodeText(name).length > MAX_BACKING_NAME)
    throw new BlockError("ERR_INVALID_ARGUMENT", "Backing file name too long", { errno: "EINVAL" });
}

function compressionRefused(image: Qcow2): BlockError {
  return new BlockError("ERR_UNSUPPORTED", "Compression and encryption not supported at the same time", {
    errno: "ENOTSUP",
    node: image.node.nodeName,
  });
}

/** The state behind a qcow2 node: for the modules of this folder and their tests. */
export function imageOf(impl: unknown): Qcow2 {
  if (impl instanceof Qcow2Impl) return impl.image;
  throw new BlockError("ERR_INVALID_ARGUMENT", "This is no qcow2 node");
}

function* openQcow2(context: OpenContext): Op<MappedImpl> {
  const { flags } = context;
  const header = yield* readHeader(context);
  refuseWhatCannotBeServed(header, context);
  checkTables(header, flags.check);
  yield* openData(context, header);
  dropStaleBitmaps(header, context.environment.warn);
  const encryption = yield* openEncryption(context, header);
  const options = takeOptions(context, header);
  const impl = new Qcow2Impl(yield* assemble(context, header, options), encryption);
  impl.image.snapshots = yield* openSnapshots(impl.image);
  // An image that was not closed cleanly (lazy refcounts) is repaired before it is written again.
  if (impl.image.isDirty && flags.write && !flags.check) yield* repairDirty(impl);
  // As QEMU: whoever opens an image to repair it makes it its own.
  if (flags.check && flags.write) yield* dropUnknownAutoclear(impl.image);
  yield* openBitmaps(impl.image, flags.check);
  return impl;
}

function* dropUnknownAutoclear(image: Qcow2): Op<void> {
  const { hi, lo } = image.header.autoclear;
  const kept = (lo & image.options.autoclearKept) >>> 0;
  if (hi !== 0 || kept !== lo) yield* image.updateHeader({ autoclear: { hi: 0, lo: kept } });
}

function* openBitmaps(image: Qcow2, check: boolean): Op<void> {
  const bitmaps = new PersistentBitmaps(image);
  try {
    yield* bitmaps.open();
  } catch (error) {
    // A check reports what is wrong with them, and repairs the rest.
    if (!check) throw error;
    return;
  }
  image.bitmaps = bitmaps;
  if (image.flags.write && !check) yield* bitmaps.accessChanging(true);
}

function refuseWhatCannotBeServed(header: Header, context: OpenContext): void {
  if (header.incompatible.lo & Incompatible.corrupt && context.flags.write && !context.flags.check) {
    throw new BlockError("ERR_CORRUPT", "qcow2: Image is corrupt; cannot be opened read/write", {
      errno: "EACCES",
      hint: "Repair it with check -r all.",
    });
  }
}

/** Writes a table slot; a debugging filter hears of it first. */
function writeAfter(event: string): (file: Node, bytes: Uint8Array, offset: number) => Op<void> {
  return function* (file, bytes, offset) {
    yield* debugEvent(file, event);
    yield* writeGrow(file, bytes, offset);
  };
}

function* assemble(context: OpenContext, header: Header, options: ReturnType<typeof takeOptions>): Op<Qcow2> {
  const { node } = context;
  const plan = new RegionPlan();
  const scan = plan.add("extents", SCAN_RECORDS * EXTENT_STRIDE);
  const l2Region = plan.add("l2-cache", options.l2CacheSize);
  const refRegion = plan.add("refcount-cache", options.refcountCacheSize);
  const file = node.file;
  const l1Bytes = header.l1Entries * 8;
  const l1 = yield* readBytes(file, header.l1Offset, l1Bytes);
  yield* debugEvent(file, "reftable_load");
  const table = yield* readBytes(file, header.reftableOffset, header.reftableClusters * 2 ** header.clusterBits);
  const image = new Qcow2(
    node,
    header,
    options,
    context.environment.codecs,
    plan.create(createKernel),
    scan,
    options.sliceSize,
    l1,
  );
  const getFile = (): typeof file => node.file;
  const makeRoom = (cache: () => TableCache) =>
    function* (locked: boolean): Op<void> {
      const release = locked ? null : yield* image.lock.acquire();
      try {
        yield* cache().writeBack();
      } finally {
        release?.();
      }
    };
  image.l2 = new TableCache(image.kernel, l2Region, options.sliceSize, getFile, {
    write: writeAfter("l2_update"),
    loading: (from) => debugEvent(from, "l2_load"),
    beforeWrite: () => image.beforeL2Write(),
    makeRoom: makeRoom(() => image.l2),
    checkWrite: (offset, length) => image.checkOverlap(offset, length, "active-l2"),
  });
  image.refblocks = new TableCache(image.kernel, refRegion, options.sliceSize, getFile, {
    write: writeAfter("refblock_update_part"),
    // eslint-disable-next-line require-yield
    *beforeWrite() {
      image.barrierNeeded = true;
    },
    makeRoom: makeRoom(() => image.refblocks),
    checkWrite: (offset, length) => image.checkOverlap(offset, length, "refcount-block"),
  });
  image.allocator = new Allocator(image, table);
  return image;
}

/** A table that cannot be read is what a check is to report. */
function* openSnapshots(image: Qcow2): Op<Snapshots> {
  try {
    return yield* Snapshots.open(image);
  } catch (error) {
    if (image.flags.check && error instanceof BlockError && error.code !== "ERR_IO") return Snapshots.unreadable(image, error);
    throw error;
  }
}

function* repairDirty(impl: Qcow2Impl): Op<void> {
  const { environment } = impl.image.node;
  const result = yield* checkImage(impl.image, {
    fix: "all",
    report: (problem) => (environment.notice ?? environment.warn)(problem.text),
  });
  if ((result.corruptions ?? 0) > 0 || result["check-errors"] > 0) {
    throw new BlockError("ERR_CORRUPT", `Could not repair dirty image '${imageName(impl.image.node)}'`, { errno: "EIO" });
  }
}

export const qcow2: Driver = {
  name: "qcow2",
  category: "format",
  supportsBacking: true,
  plansRepairs: true,
  runtimeOptions: RUNTIME_OPTIONS,
  mutableOptions: MUTABLE_OPTIONS,
  strongOptions: ["encrypt.key-secret"],
  createOptions: CREATE_OPTIONS,
  amendOptions: AMEND_OPTIONS,
  probe: (head) => (isQcow2(head) ? 100 : 0),
  open: openQcow2,
  create: createQcow2,
  measure: measureQcow2,
  planStream: planQcow2Stream,
};
