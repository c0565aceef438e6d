/** What callers of the package's functions pass, and what a platform gives them. */
import type { Reference } from "../block/context.js";
import type { Driver } from "../block/driver.js";
import type { Codecs } from "../codec/codec.js";
import type { Crypto } from "../codec/crypto/crypto.js";
import type { ConvertOptions } from "../image/convert.js";
import type { ConvertPlan } from "../image/plan.js";
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
  /** Runtime options of the format: `lazyRefcounts`, `l2CacheSize`, `encrypt: { keySecret }`, … or in QEMU's spelling. */
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
  /** Options of the format: `clusterSize`, `encrypt: { format: "luks", keySecret }`, … or in QEMU's spelling. */
  [option: string]: unknown;
}

export interface ConvertTo<Source>
  extends
    CommonOptions<Source>,
    Pick<ConvertOptions, "signal" | "onProgress" | "compress" | "sparseSize" | "parallel" | "rateLimit" | "outOfOrder"> {
  format?: string;
  /** Creation options of the target, as `create` takes them. */
  options?: Readonly<Record<string, unknown>>;
  plan?: ConvertPlan;
}

export interface StreamTo<Source> extends CommonOptions<Source>, Pick<ConvertOptions, "signal" | "onProgress"> {
  /** "raw" when absent. */
  format?: string;
  /** Creation options of the new image, as `create` takes them. */
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

const COMMON = ["formats", "references", "secrets", "codecs", "memoryBudget", "onWarning"] as const;
/** The options of each call that all have or that are its own; what is not among them is a mistake. */
export const OPEN: readonly string[] = ["format", "writable", "options", "noBacking", "forceShare", ...COMMON];
export const CONVERT: readonly string[] = [
  "format",
  "options",
  "plan",
  "signal",
  "onProgress",
  "compress",
  "sparseSize",
  "parallel",
  "rateLimit",
  "outOfOrder",
  ...COMMON,
];
export const PLAN: readonly string[] = ["format", "options", "compress"];
export const MEASURE: readonly string[] = ["format", "options", "formats"];
export const STREAM: readonly string[] = ["format", "options", "signal", "onProgress", ...COMMON];
export const COMPARE: readonly string[] = ["strict", "onSizeMismatch", "signal", "onProgress", ...COMMON];
/** All others of `create` are the format's. */
export const CREATE: ReadonlySet<string> = /* @__PURE__ */ new Set(["format", "size", "backing", "backingFormat", ...COMMON]);

export function pickCommon<Source>(options: CommonOptions<Source>): CommonOptions<Source> {
  const picked: Record<string, unknown> = {};
  for (const name of COMMON) if (options[name] !== undefined) picked[name] = options[name];
  return picked;
}
