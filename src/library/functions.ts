/**
 * The functions of the package, made for one platform: what a source may be and how it becomes a storage is the entry's
 * business, all the rest is the same everywhere.
 */
import { BlockError, prefixError } from "../base/error.js";
import type { CreateOption, Environment, Gate, GateDecision, Reference } from "../block/context.js";
import { createImage as createInto } from "../block/create.js";
import type { Driver, Measure } from "../block/driver.js";
import type { Node } from "../block/node.js";
import { openNode } from "../block/open.js";
import { done, foreign, runAsync, runSync, type Op } from "../block/op.js";
import { storageNode } from "../block/storage-node.js";
import type { Codecs } from "../codec/codec.js";
import type { Crypto } from "../codec/crypto/crypto.js";
import { checkOptions, checkSize } from "../image/arguments.js";
import { compareImages, type CompareOptions, type CompareResult } from "../image/compare.js";
import { convertInto, startsZeroed, type ConvertOptions } from "../image/convert.js";
import { createImage as createNamed } from "../image/create.js";
import { createOptionTable, formatForCreate, protocolForCreate, readCreateOptions } from "../image/create-options.js";
import { snakeKey } from "../image/camel.js";
import { Image } from "../image/image.js";
import { measureImage } from "../image/measure.js";
import { closeQuietly, imageSize, keySecretOptions } from "../image/open.js";
import { readablePlan } from "../image/readable.js";
import { planStream } from "../image/stream-plan.js";
import { planConvert as planConvertOp, type ConvertPlan } from "../image/plan.js";
import { SyncImage } from "../image/sync-image.js";
import { offerJsonNames } from "../block/json-names.js";
import { jsonNames } from "../block/json-names-qapi.js";
import { offerKernelModule } from "../kernel/kernel.js";
import { kernelModule } from "../kernel/module.inline.js";
import type { Opt } from "../qapi/options.js";
import { closeStorage } from "../platform/sources.js";
import type { Storage } from "../storage/storage.js";

/** What a gate may answer: no, yes (where the platform can open names), or what to open instead. */
export type ReferenceAnswer<Source> = boolean | null | undefined | Source;
export type References<Source> =
  | "deny"
  | "allow"
  | ((reference: Reference) => ReferenceAnswer<Source> | Promise<ReferenceAnswer<Source>>);
export type SecretSource = Readonly<
  Record<string, string | Uint8Array | (() => string | Uint8Array | Promise<string | Uint8Array>)>
>;

export interface CommonOptions<Source> {
  /** The formats that may be used; those of the entry when absent. */
  formats?: readonly Driver[];
  /** Whether files that an image names (backing files, data files) may be opened: "deny" when absent. */
  references?: References<Source>;
  /** Passphrases by the id that `key-secret` options name. */
  secrets?: SecretSource;
  codecs?: Codecs;
  /** Bytes of table caches per image. */
  memoryBudget?: number;
  /** Messages that are not errors. */
  onWarning?: (message: string) => void;
}

export interface OpenOptions<Source> extends CommonOptions<Source> {
  /** Found by probing when absent. Writing to a raw image needs it stated. */
  format?: string;
  /** Open for writing, too. */
  writable?: boolean;
  /** Runtime options of the format, QEMU's names. */
  options?: Readonly<Record<string, unknown>>;
  /** Do not open the backing file: read as if there were none. */
  noBacking?: boolean;
  /** Accept that others write meanwhile. */
  forceShare?: boolean;
}

export interface CreateOptions<Source> extends CommonOptions<Source> {
  format: string;
  /** Virtual size in bytes. */
  size?: number;
  /** Name of a backing file, as it will be stored in the image; with its format. */
  backing?: string;
  backingFormat?: string;
  /** Options of the format: `clusterSize`, `lazyRefcounts`, … or in QEMU's spelling. */
  [option: string]: unknown;
}

export interface ConvertTo<Source>
  extends
    CommonOptions<Source>,
    Pick<ConvertOptions, "signal" | "onProgress" | "compress" | "sparseSize" | "parallel" | "rateLimit" | "outOfOrder"> {
  format?: string;
  /** Creation options of the target. */
  options?: Readonly<Record<string, unknown>>;
  plan?: ConvertPlan;
}

export interface StreamTo<Source> extends CommonOptions<Source>, Pick<ConvertOptions, "signal" | "onProgress"> {
  /** "raw" when absent. */
  format?: string;
  /** Creation options of the new image. */
  options?: Readonly<Record<string, unknown>>;
}

export interface ImageStream {
  /** Bytes the stream will have. */
  readonly length: number;
  readonly stream: ReadableStream<Uint8Array>;
}

export interface Platform<Source> {
  formats: readonly Driver[];
  codecs: Codecs;
  /** Ciphers and hashes for encrypted images. */
  crypto: Crypto;
  /** Bytes of table caches per image unless the caller says; 16 MiB when absent. */
  memoryBudget?: number;
  /** Protocol drivers by which names are opened; none where there are no names but URLs. */
  protocols: readonly Driver[];
  /** There: what a file that an image names is; null: it cannot be known. */
  byName?: (name: string) => Storage | Promise<Storage> | null;
  /** A source as a storage (a promise where that takes time), or the name it is. */
  toStorage(source: Source, writable: boolean): Storage | Promise<Storage> | string;
}

export interface Library<Source> {
  open(source: Source, options?: OpenOptions<Source>): Promise<Image>;
  /** For sources with synchronous access. */
  openSync(source: Source, options?: OpenOptions<Source>): SyncImage;
  /** Makes an image in a file or an (empty, writable) storage. */
  create(target: Source, options: CreateOptions<Source>): Promise<void>;
  /** Makes an image on top of another and opens it for writing. */
  createOverlay(
    target: Source,
    options: Omit<CreateOptions<Source>, "format"> & { format?: string; backing: string; backingFormat: string },
  ): Promise<Image>;
  /** Copies the content of an image into a new one. */
  convert(source: Image | Source, target: Source, options?: ConvertTo<Source>): Promise<void>;
  /**
   * The content of an image as a new one in one pass: raw, qcow2 (without compression, backing file and encryption), vpc, vdi, vhdx, or
   * a streamOptimized vmdk. Its length is known beforehand (a Content-Length). An image that was passed open must not be written meanwhile.
   */
  convertToStream(source: Image | Source, options?: StreamTo<Source>): Promise<ImageStream>;
  planConvert(
    source: Image,
    options: { format: string; options?: Readonly<Record<string, unknown>>; compress?: boolean },
  ): Promise<ConvertPlan>;
  compare(
    first: Image | Source,
    second: Image | Source,
    options?: CompareOptions & CommonOptions<Source>,
  ): Promise<CompareResult>;
  /** Bytes a new image would need: of this size, or with the content of this image. */
  measure(
    source: Image | number,
    options: { format: string; options?: Readonly<Record<string, unknown>>; formats?: readonly Driver[] },
  ): Promise<Measure>;
  resize(image: Image, size: number, options?: { shrink?: boolean }): Promise<void>;
}

const DEFAULT_BUDGET = 16 * 1024 * 1024;
const COMMON = ["formats", "references", "secrets", "codecs", "memoryBudget", "onWarning"] as const;
const OPEN: readonly string[] = ["format", "writable", "options", "noBacking", "forceShare", ...COMMON];
const STREAM: readonly string[] = ["format", "options", "signal", "onProgress", ...COMMON];
const COMPARE: readonly string[] = ["strict", "onSizeMismatch", "signal", "onProgress", ...COMMON];
/** All others of `create` are the format's. */
const CREATE: ReadonlySet<string> = new Set(["format", "size", "backing", "backingFormat", ...COMMON]);

function optsOf(options: Readonly<Record<string, unknown>> | undefined): Opt[] {
  const opts: Opt[] = [];
  for (const [key, value] of Object.entries(options ?? {})) {
    if (value === undefined || value === null) continue;
    const name = key === "compression" ? "compression_type" : snakeKey(key);
    if (typeof value === "object")
      for (const [inner, item] of Object.entries(value)) opts.push({ name: `${name}.${inner}`, value: textOf(item) });
    else opts.push({ name, value: textOf(value) });
  }
  return opts;
}
const textOf = (value: unknown): string => (value === true ? "on" : value === false ? "off" : String(value));

/** @throws BlockError ERR_INVALID_ARGUMENT */
export function checkReferences(value: unknown): void {
  if (typeof value !== "function" && value !== "deny" && value !== "allow")
    throw new BlockError("ERR_INVALID_ARGUMENT", 'references must be "deny", "allow" or a function');
}

/** @param what QEMU's noun for it in this call */
function checkFormat(environment: Environment, what: "driver" | "file format", format: unknown): void {
  if (typeof format === "string" && environment.drivers.has(format)) return;
  const known = [...environment.drivers.values()].filter(({ category }) => category === "format").map(({ name }) => name);
  throw new BlockError(
    format === undefined ? "ERR_INVALID_ARGUMENT" : "ERR_UNSUPPORTED",
    format === undefined ? "Parameter 'format' is missing" : `Unknown ${what} '${String(format)}'`,
    { errno: "EINVAL", hint: `Known are: ${known.join(", ")}.` },
  );
}

function checkCreateOptions(format: string, table: readonly CreateOption[], opts: readonly Opt[]): void {
  for (const { name } of opts) {
    if (!table.some((option) => option.name === name))
      throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid parameter '${name}'`, {
        hint: `An image of the format ${format} takes: ${table.map((option) => option.name).join(", ")}.`,
      });
  }
}

export function makeLibrary<Source>(platform: Platform<Source>): Library<Source> {
  function environmentOf(options: CommonOptions<Source>): Environment {
    offerKernelModule(kernelModule);
    offerJsonNames(jsonNames);
    const formats = options.formats ?? platform.formats;
    const { references = "deny" } = options;
    checkReferences(references);
    if (formats.length === 0) {
      throw new BlockError("ERR_INVALID_ARGUMENT", "No formats were given", {
        hint: "This entry knows no format by itself: pass { formats: [qcow2, raw] }.",
      });
    }
    const environment: Environment = {
      drivers: new Map([...formats, ...platform.protocols].map((driver) => [driver.name, driver])),
      codecs: options.codecs ?? platform.codecs,
      crypto: platform.crypto,
      gate: (reference) => decide(environment, references, reference),
      secrets: (id) => secretOf(options.secrets ?? {}, id),
      now: () => Date.now(),
      memoryBudget: options.memoryBudget ?? platform.memoryBudget ?? DEFAULT_BUDGET,
      warn: options.onWarning ?? (() => {}),
    };
    return environment;
  }

  function* decide(environment: Environment, references: References<Source>, reference: Reference): ReturnType<Gate> {
    if (references === "deny") return false;
    const answer =
      typeof references === "function"
        ? yield* maybe("Asking whether a reference may be opened", () => references(reference))
        : references === "allow";
    if (answer === true && platform.byName === undefined) return true;
    if (answer === null || answer === undefined || answer === false) return false;
    const source = answer === true ? byName(reference) : platform.toStorage(answer as Source, false);
    // A backing file is an image, the others are plain bytes.
    const isImage = reference.kind === "backing" || reference.kind === "parent";
    if (typeof source === "string") {
      const file = { driver: "file", filename: source };
      return (isImage ? { file } : file) as GateDecision;
    }
    const node = yield* storageNode(environment, yield* arriving("Opening a reference", source), { write: false });
    if (answer !== true && !isPromise(source)) leaveOpen(node);
    return isImage ? { file: node } : node;
  }

  function byName({ filename, resolved }: Reference): Storage | Promise<Storage> {
    const found = platform.byName!(resolved);
    if (found !== null) return found;
    throw new BlockError("ERR_UNSUPPORTED", `There are no files here that could be opened by the name '${filename}'`, {
      hint: "Let `references` answer with what to open.",
    });
  }

  /** Opens the file of an image: by name through the protocols, or over a storage. */
  function* openOp(source: Source, options: OpenOptions<Source>): Op<Node> {
    checkOptions("open", options, OPEN);
    const environment = environmentOf(options);
    if (options.format !== undefined) checkFormat(environment, "driver", options.format);
    const flags = {
      write: options.writable === true,
      unmap: options.writable === true,
      noBacking: options.noBacking === true,
      forceShare: options.forceShare === true,
    };
    const found = platform.toStorage(source, options.writable === true);
    const driver = options.format === undefined ? {} : { driver: options.format };
    if (typeof found === "string") {
      try {
        return yield* openNode(environment, { filename: found, ...driver, options: { ...options.options }, flags });
      } catch (error) {
        const prefix = `Could not open '${found}': `;
        throw error instanceof BlockError && error.message.startsWith(prefix) ? error : prefixError(prefix, error);
      }
    }
    const storage = yield* arriving("Opening the source", found);
    const file = yield* storageNode(environment, storage, { write: flags.write, forceShare: flags.forceShare });
    if (!isPromise(found)) leaveOpen(file);
    try {
      return yield* openNode(environment, { ...driver, options: { ...options.options, file }, flags });
    } finally {
      yield* closeQuietly(file);
    }
  }

  function* createOp(target: Source, options: CreateOptions<Source>): Op<void> {
    const environment = environmentOf(options);
    checkFormat(environment, "file format", options.format);
    if (options.size !== undefined) checkSize(options.size);
    const opts = optsOf(Object.fromEntries(Object.entries(options).filter(([key]) => !CREATE.has(key))));
    if (target instanceof Uint8Array || target instanceof ArrayBuffer)
      throw new BlockError("ERR_READ_ONLY", "A new image does not fit into given bytes", {
        hint: "Pass `const storage = memoryStorage(0)`, and take the image's bytes with `storage.toBytes()`.",
      });
    const found = platform.toStorage(target, true);
    const driver = formatForCreate(environment, options.format);
    const table = createOptionTable(driver, typeof found === "string" ? protocolForCreate(environment, found) : null);
    checkCreateOptions(options.format, table, opts);
    if (typeof found === "string") {
      yield* createNamed(environment, {
        filename: found,
        format: options.format,
        size: options.size,
        backingFile: options.backing,
        backingFormat: options.backingFormat,
        options: opts,
      });
      return;
    }
    const values = readCreateOptions(table, opts);
    if (options.backing !== undefined) values["backing_file"] = options.backing;
    if (options.backingFormat !== undefined) values["backing_fmt"] = options.backingFormat;
    if (options.size === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", "Image creation needs a size parameter");
    const storage = yield* arriving("Opening the target", found);
    if (storage.readOnly) throw new BlockError("ERR_READ_ONLY", `'${storage.name}' cannot be written`, { errno: "EPERM" });
    const file = yield* storageNode(environment, storage);
    try {
      yield* createInto(environment, { driver, filename: storage.name, size: options.size, options: values, file });
    } finally {
      // What the caller brought is to be opened as an image now: the node goes, the storage stays open. What took opening was opened here.
      if (isPromise(found)) yield* closeQuietly(file);
      else file.references = 0;
    }
  }

  function* convertOp(source: Node, target: Source, options: ConvertTo<Source>): Op<void> {
    const format = options.plan?.format ?? options.format ?? "raw";
    const {
      plan,
      options: given,
      signal,
      onProgress,
      compress,
      sparseSize,
      parallel,
      rateLimit,
      outOfOrder,
      ...common
    } = options;
    const chosen = plan === undefined ? (given ?? {}) : Object.fromEntries(plan.options.map((opt) => [opt.name, opt.value]));
    yield* createOp(target, { ...common, ...chosen, format, size: imageSize(source) });
    const secrets = keySecretOptions(Object.fromEntries(optsOf(chosen).map((opt) => [opt.name, opt.value])));
    const node = yield* openOp(target, { ...common, format, writable: true, options: { ...secrets } });
    try {
      yield* convertInto([source], node, {
        targetIsZero: startsZeroed(node),
        signal,
        onProgress,
        ...(compress === undefined ? {} : { compress }),
        ...(sparseSize === undefined ? {} : { sparseSize }),
        ...(parallel === undefined ? {} : { parallel }),
        ...(rateLimit === undefined ? {} : { rateLimit }),
        ...(outOfOrder === undefined ? {} : { outOfOrder }),
      });
    } catch (error) {
      yield* closeQuietly(node);
      throw error;
    }
    yield* node.unref();
  }

  /** Does something with an image: one that is open, or that is opened for this time. */
  async function using<T>(
    source: Image | Source,
    options: CommonOptions<Source>,
    work: (image: Image) => Promise<T>,
  ): Promise<T> {
    if (source instanceof Image) return work(source);
    const image = await library.open(source, pickCommon(options));
    try {
      return await work(image);
    } finally {
      await image.close();
    }
  }

  const library: Library<Source> = {
    open: async (source, options = {}) => new Image(await runAsync(openOp(source, options))),
    openSync: (source, options = {}) => new SyncImage(runSync(openOp(source, options))),
    create: (target, options) => runAsync(createOp(target, options)),
    createOverlay: async (target, options) => {
      const format = options.format ?? "qcow2";
      await runAsync(createOp(target, { references: "allow", ...options, format }));
      return library.open(target, {
        references: "allow",
        ...pickCommon(options as CommonOptions<Source>),
        format,
        writable: true,
      });
    },
    convert: (source, target, options = {}) => using(source, options, ({ node }) => runAsync(convertOp(node, target, options))),
    convertToStream: async (source, options = {}) => {
      checkOptions("convertToStream", options, STREAM);
      const { format = "raw", signal, onProgress } = options;
      const own = source instanceof Image ? null : await library.open(source, pickCommon(options));
      const ended = (): Promise<void> => own?.close() ?? Promise.resolve();
      try {
        const { node } = own ?? (source as Image);
        // What the source was opened with may lack the format of the new image.
        const environment = options.formats === undefined ? node.environment : environmentOf(options);
        const plan = await runAsync(
          planStream(environment, [node], {
            format,
            options: optsOf(options.options),
            signal,
            ...(onProgress === undefined ? {} : { onProgress }),
          }),
        );
        return { length: plan.length, stream: readablePlan(plan, ended) };
      } catch (error) {
        await ended();
        throw error;
      }
    },
    planConvert: (source, options) =>
      runAsync(planConvertOp(source.node.environment, source.node, { ...options, options: optsOf(options.options) })),
    compare: async (first, second, options = {}) => {
      checkOptions("compare", options, COMPARE);
      return using(first, options, (a) => using(second, options, (b) => runAsync(compareImages(a.node, b.node, options))));
    },
    measure: (source, options) => {
      const request = { format: options.format, options: optsOf(options.options) };
      if (typeof source === "number")
        return runAsync(
          measureImage(environmentOf(options.formats === undefined ? {} : { formats: options.formats }), {
            ...request,
            size: source,
          }),
        );
      return runAsync(measureImage(source.node.environment, { ...request, source: source.node }));
    },
    resize: (image, size, options = {}) => image.resize(size, options),
  };
  return library;
}

/** `library[name]`, as a call that bundlers know to leave out when its result is not used. */
export function member<L, K extends keyof L>(library: L, name: K): L[K] {
  return library[name];
}

function pickCommon<Source>(options: CommonOptions<Source>): CommonOptions<Source> {
  const picked: Record<string, unknown> = {};
  for (const name of COMMON) if (options[name] !== undefined) picked[name] = options[name];
  return picked;
}

/** A storage, handle or object that the caller brought is the caller's to close. */
function leaveOpen(node: Node): void {
  const impl = node.impl;
  if (impl.shape === "storage") impl.close = () => done(undefined);
}

/** A value that may be a promise; a promise cannot be waited for where calls are synchronous. */
export function* maybe<T>(what: string, make: () => T | Promise<T>): Op<T> {
  const value = make();
  if (!isPromise(value)) return value;
  return yield* foreign(what, null, () => value);
}
/** A storage that may have to be waited for. */
function* arriving(what: string, found: Storage | Promise<Storage>): Op<Storage> {
  try {
    return yield* maybe(what, () => found);
  } catch (error) {
    // A synchronous call cannot wait for it: then nobody will close it.
    if (isPromise(found)) found.then(closeStorage).catch(() => {});
    throw error;
  }
}
function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return typeof (value as { then?: unknown } | null)?.then === "function";
}

export function* secretOf(secrets: SecretSource, id: string): Op<Uint8Array | null> {
  const secret = Object.hasOwn(secrets, id) ? secrets[id] : undefined;
  if (secret === undefined) return yield* done(null);
  const value = typeof secret === "function" ? yield* maybe("Asking for a passphrase", secret) : secret;
  return typeof value === "string" ? new TextEncoder().encode(value) : value;
}
