/** Changing the format options of an existing image, in QEMU's order: what needs the newer version after the upgrade, the downgrade last. */
import { BlockError } from "../../base/error.js";
import { isPowerOfTwo, log2 } from "../../base/int.js";
import type { CreateOption } from "../../block/context.js";
import { truncate } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { downgrade, upgrade } from "./amend-version.js";
import { CREATE_OPTIONS } from "./create.js";
import { amendEncryption, ENCRYPT_AMEND_OPTIONS, type Encryption } from "./encryption.js";
import type { Header } from "./header.js";
import type { Qcow2 } from "./image.js";
import { Autoclear, Compatible } from "./layout.js";
import { replaceRefcounts, type Progress } from "./replace-refcounts.js";

const AMENDABLE = [
  "size",
  "compat",
  "backing_file",
  "backing_fmt",
  "data_file",
  "data_file_raw",
  "lazy_refcounts",
  "refcount_bits",
];

export const AMEND_OPTIONS: readonly CreateOption[] = [
  ...ENCRYPT_AMEND_OPTIONS,
  ...CREATE_OPTIONS.filter((option) => AMENDABLE.includes(option.name)).map(({ name, type, help }) => ({ name, type, help })),
];

const invalid = (message: string, hint?: string): BlockError =>
  new BlockError("ERR_INVALID_ARGUMENT", message, { errno: "EINVAL", ...(hint === undefined ? {} : { hint }) });

interface Changes {
  version: 2 | 3;
  refcountOrder: number;
  lazyRefcounts: boolean;
  dataFile: string | undefined;
  dataFileRaw: boolean;
  size: number;
  encryption: boolean;
}

/** What is asked for, checked as far as that is possible before anything is done. */
function readChanges(image: Qcow2, encryption: Encryption | null, options: Readonly<Record<string, unknown>>): Changes {
  const { header } = image;
  const compat = options["compat"];
  const versions: Readonly<Record<string, 2 | 3>> = { "0.10": 2, v2: 2, "1.1": 3, v3: 3 };
  const version = compat === undefined || compat === "" ? header.version : versions[String(compat)];
  if (version === undefined) throw invalid(`Unknown compatibility level ${String(compat)}`);
  const encrypt = Object.keys(options).some((name) => name.startsWith("encrypt."));
  if (encrypt && encryption === null) throw invalid("Can't amend encryption options - encryption not present");
  if (encrypt && encryption?.luks === null)
    throw new BlockError("ERR_UNSUPPORTED", "Only LUKS encryption options can be amended", { errno: "ENOTSUP" });
  const bits = (options["refcount_bits"] as number | undefined) ?? 2 ** header.refcountOrder;
  if (!isPowerOfTwo(bits) || bits > 64) throw invalid("Refcount width must be a power of two and may not exceed 64 bits");
  const dataFile = options["data_file"] as string | undefined;
  if (dataFile !== undefined && !image.hasDataFile)
    throw invalid("data-file can only be set for images that use an external data file");
  const isRaw = (header.autoclear.lo & Autoclear.rawDataFile) !== 0;
  const dataFileRaw = (options["data_file_raw"] as boolean | undefined) ?? isRaw;
  if (dataFileRaw && !isRaw) throw invalid("data-file-raw cannot be set on existing images");
  return {
    version,
    refcountOrder: log2(bits),
    lazyRefcounts: (options["lazy_refcounts"] as boolean | undefined) ?? (header.compatible.lo & Compatible.lazyRefcounts) !== 0,
    dataFile,
    dataFileRaw,
    size: (options["size"] as number | undefined) ?? 0,
    encryption: encrypt,
  };
}

export function* amendQcow2(
  image: Qcow2,
  encryption: Encryption | null,
  options: Readonly<Record<string, unknown>>,
  progress: Progress,
  force: boolean,
): Op<void> {
  const { header } = image;
  const changes = readChanges(image, encryption, options);
  const oldVersion = header.version;
  const steps = new Steps(
    progress,
    Number(changes.version !== oldVersion) + Number(changes.refcountOrder !== header.refcountOrder) + Number(changes.encryption),
  );
  if (changes.version > oldVersion) yield* exclusively(image, () => upgrade(image));
  if (changes.version > oldVersion) steps.end();
  if (changes.encryption) {
    const own = Object.entries(options).filter(([name]) => name.startsWith("encrypt."));
    yield* amendEncryption(image, encryption, Object.fromEntries(own), force);
    steps.end();
  }
  if (changes.refcountOrder !== header.refcountOrder) {
    if (changes.version < 3 && changes.refcountOrder !== 4)
      throw invalid("Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)");
    yield* exclusively(image, () => replaceRefcounts(image, changes.refcountOrder, steps.progress));
    steps.end();
  }
  yield* amendHeader(image, changes, options);
  if (changes.size > 0) yield* truncate(image.node, changes.size, { preallocation: "off" });
  if (changes.version < oldVersion) {
    yield* exclusively(image, () => downgrade(image, steps.progress));
    steps.end();
  }
}

function* amendHeader(image: Qcow2, changes: Changes, options: Readonly<Record<string, unknown>>): Op<void> {
  const { header } = image;
  const file = options["backing_file"];
  const format = options["backing_fmt"];
  const change: Partial<Header> = {};
  if (changes.dataFile !== undefined) change.dataFile = changes.dataFile === "" ? null : changes.dataFile;
  if (!changes.dataFileRaw && (header.autoclear.lo & Autoclear.rawDataFile) !== 0) {
    change.autoclear = { hi: header.autoclear.hi, lo: header.autoclear.lo & ~Autoclear.rawDataFile };
  }
  yield* changeHeader(image, change);
  const isGiven = file !== undefined || format !== undefined;
  if (isGiven && ((file ?? null) !== header.backingFile || (format ?? null) !== header.backingFormat)) {
    throw invalid("Cannot amend the backing file", "You can use 'qemu-img rebase' instead.");
  }
  const isLazy = (header.compatible.lo & Compatible.lazyRefcounts) !== 0;
  if (changes.lazyRefcounts === isLazy) return;
  if (changes.lazyRefcounts && changes.version < 3) {
    throw invalid("Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)");
  }
  // Off: refcounts and the dirty bit come in order first.
  if (!changes.lazyRefcounts) yield* image.settle();
  image.options.lazyRefcounts = changes.lazyRefcounts;
  const { hi, lo } = header.compatible;
  yield* changeHeader(image, {
    compatible: { hi, lo: changes.lazyRefcounts ? lo | Compatible.lazyRefcounts : lo & ~Compatible.lazyRefcounts },
  });
}

function* changeHeader(image: Qcow2, change: Partial<Header>): Op<void> {
  if (Object.keys(change).length === 0) return;
  const release = yield* image.lock.acquire();
  try {
    yield* image.beginModifying(false);
    yield* image.updateHeader(change);
    yield* image.barrier();
  } finally {
    release();
  }
}

/** Runs a change of the whole image with nothing dirty, no free pending, and writers kept out. */
function* exclusively(image: Qcow2, work: () => Op<void>): Op<void> {
  const { requests } = image.node;
  const lease = yield* requests.acquire(0, Math.max(image.size, 1), 1);
  try {
    const release = yield* image.lock.acquire();
    try {
      yield* image.markCorrupt();
      yield* image.beginModifying(false);
      // Frees take effect after a flush, and what they free is dirty then.
      yield* image.flushLocked();
      yield* image.flushLocked();
      if (image.allocator.hasPendingFrees)
        throw new BlockError("ERR_BUSY", "The image is being read; try again when that is done");
      yield* image.allocator.writeBack();
      yield* image.barrier();
      yield* work();
    } finally {
      release();
    }
  } finally {
    requests.release(lease);
  }
}

/** Several operations, one after the other, as one progress: those to come are expected to be as long as those before. */
class Steps {
  readonly #report: Progress;
  readonly #count: number;
  #ended = 0;
  #offset = 0;
  #last = 0;

  constructor(report: Progress, count: number) {
    this.#report = report;
    this.#count = count;
  }
  readonly progress = (done: number, total: number): void => {
    this.#last = total;
    const current = this.#offset + total;
    const projected = (current * (this.#count - this.#ended - 1)) / (this.#ended + 1);
    this.#report(this.#offset + done, current + projected);
  };
  end(): void {
    if (this.#last === 0) this.progress(0, 1);
    this.#offset += this.#last;
    this.#last = 0;
    this.#ended++;
  }
}
