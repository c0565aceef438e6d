/**
 * Compression codecs: the two interfaces, and the list a runtime's entry makes of the implementations it wants.
 *
 * Implementations live in files of their own so that a bundle carries only what its entry names. Every codec works on
 * one whole unit (a cluster, a grain, a chunk): the caller knows the size of the plain bytes beforehand, and that size
 * bounds what a hostile stream can make us allocate.
 */
import { BlockError } from "../base/error.js";

export type CodecName =
  | "deflate" // raw deflate (RFC 1951): qcow2, qcow
  | "zlib" // zlib-wrapped deflate (RFC 1950): VMDK, DMG (UDZO), cloop
  | "zstd" // RFC 8878: qcow2
  | "bzip2" // DMG (UDBZ)
  | "xz" // .xz container with LZMA2, or .lzma: DMG (ULMO)
  | "lzfse" // LZFSE and LZVN blocks: DMG (ULFO)
  | "adc"; // Apple Data Compression: DMG (UDCO)

export type DecompressSync = (from: Uint8Array, into: Uint8Array) => void;
export type DecompressAsync = (from: Uint8Array, into: Uint8Array) => Promise<void>;

/** One unit of a batch; `error` is what `sync` would have thrown for it. */
export interface DecompressUnit {
  readonly from: Uint8Array;
  readonly into: Uint8Array;
  error?: unknown;
}

/**
 * Fills `into` completely from the stream that starts at the beginning of `from`.
 *
 *  - bytes of `from` after the end of the stream are ignored (compressed clusters carry sector padding);
 *  - a stream that is damaged or yields fewer than `into.length` bytes throws `ERR_CORRUPT`; `into` is then undefined;
 *  - of a deflate stream that yields more, the first `into.length` bytes are delivered and the rest is dropped, as QEMU
 *    does; a zstd frame that is larger than `into` is refused, as QEMU does; the others are refused too;
 *  - memory used is bounded by a small constant plus a small multiple of `into.length`, never by what the stream claims.
 *
 * `from` and `into` must not overlap and must not change during an asynchronous call.
 */
export interface Decompressor {
  readonly name: CodecName;
  readonly sync: DecompressSync | null;
  readonly async: DecompressAsync | null;
  /** Does as `sync` does, with several units that are decompressed on several threads where that is faster. Never throws. */
  readonly many?: (units: readonly DecompressUnit[]) => void;
}

export type CompressSync = (from: Uint8Array, maxLength: number) => Uint8Array | null;
export type CompressAsync = (from: Uint8Array, maxLength: number) => Promise<Uint8Array | null>;

/**
 * Compresses all of `from` to one stream; null when the stream would be longer than `maxLength` bytes.
 * The result is the caller's. `from` must not change during an asynchronous call.
 */
export interface Compressor {
  readonly name: CodecName;
  readonly sync: CompressSync | null;
  readonly async: CompressAsync | null;
  /** How many asynchronous calls in flight keep this machine busy (1 when they all run on the calling thread). */
  readonly parallel: number;
}

export interface CompressorOptions {
  /** The codec's own scale (deflate 0..9, zstd 1..22); the codec's default when absent. */
  level?: number;
  /**
   * Base-two logarithm of the deflate window, 9..15, default 12: QEMU inflates qcow2 clusters with a 4 KiB window.
   * Ignored by zstd.
   */
  windowBits?: number;
}

/** One implementation of one codec, as an entry lists it. */
export interface CodecProvider {
  readonly name: CodecName;
  readonly decompressor?: Decompressor;
  readonly compressor?: (options: CompressorOptions) => Compressor;
  /**
   * Present when something must be fetched or compiled first (a WebAssembly encoder): before it has resolved once, only
   * the asynchronous faces work. Rejects with ERR_UNSUPPORTED when the optional package is not installed.
   */
  readonly load?: () => Promise<void>;
}

/** The codecs of a runtime. Of two providers of one name the earlier one wins, separately for each direction. */
export class Codecs {
  readonly #providers: readonly CodecProvider[];

  constructor(providers: readonly CodecProvider[]) {
    this.#providers = providers;
  }

  canDecompress(name: CodecName): boolean {
    return this.#providers.some((provider) => provider.name === name && provider.decompressor !== undefined);
  }

  canCompress(name: CodecName): boolean {
    return this.#providers.some((provider) => provider.name === name && provider.compressor !== undefined);
  }

  /** Throws ERR_UNSUPPORTED, naming the codec, when the entry did not bring a decoder for it. */
  decompressor(name: CodecName): Decompressor {
    for (const provider of this.#providers)
      if (provider.name === name && provider.decompressor !== undefined) return provider.decompressor;
    throw absent(name, "decompress");
  }

  /** Throws ERR_UNSUPPORTED when there is no encoder, ERR_INVALID_ARGUMENT when an option is out of range. */
  compressor(name: CodecName, options: CompressorOptions = {}): Compressor {
    for (const provider of this.#providers)
      if (provider.name === name && provider.compressor !== undefined) return provider.compressor(options);
    throw absent(name, "compress");
  }

  /** Makes the synchronous faces of `name` usable where they need a module that loads asynchronously. */
  async load(name: CodecName): Promise<void> {
    for (const provider of this.#providers) if (provider.name === name && provider.load !== undefined) await provider.load();
  }

  /** These codecs after `others`: what a caller brings goes before what the entry chose. */
  with(others: readonly CodecProvider[]): Codecs {
    return new Codecs([...others, ...this.#providers]);
  }
}

function absent(name: CodecName, verb: "compress" | "decompress"): BlockError {
  return new BlockError("ERR_UNSUPPORTED", `This build of Blockcore cannot ${verb} ${name} data`, {
    hint: `Add a '${name}' codec provider to the codecs of the entry you use.`,
  });
}

/** The error of a damaged compressed unit. */
export function corruptStream(name: CodecName, what: string, cause?: unknown): BlockError {
  return new BlockError("ERR_CORRUPT", `Damaged ${name} data: ${what}`, cause === undefined ? {} : { cause });
}

/** The integer option `value` or its default; ERR_INVALID_ARGUMENT when outside min..max. */
export function codecOption(name: string, value: number | undefined, fallback: number, min: number, max: number): number {
  if (value === undefined) return fallback;
  if (!Number.isInteger(value) || value < min || value > max)
    throw new BlockError("ERR_INVALID_ARGUMENT", `Compression ${name} must be an integer from ${min} to ${max}`);
  return value;
}
