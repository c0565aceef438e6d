/**
 * zstd at native speed: the runtime's own (`node:zlib` of Node.js 22.15 and later, Deno, Bun, workerd) or, on Node.js 20,
 * the prebuilt addon of the optional package `@cloudpss/zstd`. The addon's calls share one state in the whole process, which two
 * threads that use it at a time damage: they are for the main thread alone. Other threads take the addon's streams.
 */
import { createRequire } from "node:module";
import { codecOption, type CodecProvider, type Compressor, type Decompressor, type DecompressSync } from "./codec.js";
import { Crew, decompressTogether, type Work } from "./node-crew.js";
import { decompressZstd } from "./zstd/decoder.js";
import { boundedFrame, withContentSize } from "./zstd/frame.js";

/** libuv's pool has four threads unless UV_THREADPOOL_SIZE says otherwise; twice that keeps them fed. */
const PARALLEL = 8;
/** libzstd's own default. */
const DEFAULT_LEVEL = 3;

interface ZstdOptions {
  chunkSize?: number;
  maxOutputLength?: number;
  pledgedSrcSize?: number;
  params?: Record<number, number>;
}
type Done = (error: Error | null, result: Uint8Array) => void;

/** What newer runtimes add to node:zlib; absent from the types of the oldest one we support. */
interface ZlibWithZstd {
  zstdCompressSync?: (from: Uint8Array, options: ZstdOptions) => Uint8Array;
  zstdCompress?: (from: Uint8Array, options: ZstdOptions, done: Done) => void;
  zstdDecompressSync?: (from: Uint8Array, options: ZstdOptions) => Uint8Array;
  zstdDecompress?: (from: Uint8Array, options: ZstdOptions, done: Done) => void;
  constants: { ZSTD_c_compressionLevel?: number; ZSTD_d_windowLogMax?: number };
}

const fit = (compressed: Uint8Array, maxLength: number): Uint8Array | null =>
  compressed.length <= maxLength ? compressed : null;

/** Asks a native decoder first; what it refuses or gets wrong is decided by the careful one. */
function decompressor(
  whole: (from: Uint8Array, into: Uint8Array) => Uint8Array | null,
  wholeAsync: (from: Uint8Array, into: Uint8Array) => Promise<Uint8Array | null>,
  crew: Crew,
  cut?: (from: Uint8Array, size: number) => Uint8Array,
): Decompressor {
  const finish = (plain: Uint8Array | null, from: Uint8Array, into: Uint8Array): void => {
    if (plain !== null && plain.length === into.length) into.set(plain);
    else decompressZstd(from, into);
  };
  const sync: DecompressSync = (from, into) => {
    let plain: Uint8Array | null = null;
    try {
      plain = whole(from, into);
    } catch {
      // decided by the careful decoder
    }
    finish(plain, from, into);
  };
  return {
    name: "zstd",
    sync,
    many: decompressTogether(crew, sync, cut),
    async: async (from, into) => finish(await wholeAsync(from, into).catch(() => null), from, into),
  };
}

/** Runs in other threads: names nothing outside of itself. */
function builtinWork(decompress: NonNullable<ZlibWithZstd["zstdDecompressSync"]>, windowLogMax: number): Work {
  return (from, into) => {
    const plain = decompress(from, {
      chunkSize: Math.max(64, into.length + 1),
      maxOutputLength: into.length,
      params: { [windowLogMax]: 23 },
    });
    if (plain.length === into.length) into.set(plain);
    return plain.length === into.length ? plain.length : 0;
  };
}

/** The runtime's own zstd, if it has one. */
function builtin(): CodecProvider | null {
  const { zstdCompressSync, zstdCompress, zstdDecompressSync, zstdDecompress, constants } = process.getBuiltinModule(
    "node:zlib",
  ) as unknown as ZlibWithZstd;
  if (!zstdCompressSync || !zstdCompress || !zstdDecompressSync || !zstdDecompress) return null;
  const LEVEL = constants.ZSTD_c_compressionLevel ?? 100;
  const WINDOW_LOG_MAX = constants.ZSTD_d_windowLogMax ?? 100;
  const decodeOptions = (into: Uint8Array): ZstdOptions => ({
    chunkSize: Math.max(64, into.length + 1),
    maxOutputLength: Math.max(1, into.length),
    params: { [WINDOW_LOG_MAX]: 23 }, // a frame with a larger window than 8 MiB goes to the careful decoder, which needs none
  });
  return {
    name: "zstd",
    decompressor: decompressor(
      (from, into) => zstdDecompressSync(from, decodeOptions(into)),
      (from, into) =>
        new Promise((resolve, reject) => {
          zstdDecompress(from, decodeOptions(into), (error, plain) => (error === null ? resolve(plain) : reject(error)));
        }),
      new Crew(() => `async () => (${builtinWork})(process.getBuiltinModule("node:zlib").zstdDecompressSync, ${WINDOW_LOG_MAX})`),
    ),
    compressor: (options) => {
      const level = codecOption("level", options.level, DEFAULT_LEVEL, 1, 22);
      const encodeOptions = (from: Uint8Array): ZstdOptions => ({
        chunkSize: Math.max(64, from.length),
        pledgedSrcSize: from.length,
        params: { [LEVEL]: level },
      });
      return {
        name: "zstd",
        parallel: PARALLEL,
        sync: (from, maxLength) => fit(withContentSize(zstdCompressSync(from, encodeOptions(from)), from.length), maxLength),
        async: (from, maxLength) =>
          new Promise((resolve, reject) => {
            zstdCompress(from, encodeOptions(from), (error, frame) =>
              error === null ? resolve(fit(withContentSize(frame, from.length), maxLength)) : reject(error),
            );
          }),
      };
    },
  };
}

/** Both take and give whole buffers; what they give is memory the garbage collector knows about. */
interface NativePackage {
  compress(from: Uint8Array, level: number): Uint8Array;
  decompress(from: Uint8Array): Uint8Array;
}

const PACKAGE = "@cloudpss/zstd/napi";
const requireHere = (): NodeJS.Require => createRequire(import.meta.url);
let native: NativePackage | null | undefined;

/** The optional package, loaded when first needed; null where it is not installed, has no build for this machine, or may not be used. */
function nativePackage(): NativePackage | null {
  if (native === undefined && !process.getBuiltinModule("node:worker_threads").isMainThread) native = null;
  if (native === undefined) {
    try {
      native = requireHere()(PACKAGE) as NativePackage;
    } catch {
      native = null;
    }
  }
  return native;
}

function decompressNatively(from: Uint8Array, into: Uint8Array): Uint8Array | null {
  const frame = boundedFrame(from, into.length);
  return frame === null ? null : (nativePackage()?.decompress(frame) ?? null);
}

/** What lies under the package's streams; the package's own name for it says that it is there for tests. */
interface NativeStreams {
  _NapiBindings: { Decompressor: new () => { data(from: Uint8Array, done: (plain: Uint8Array) => void): void } };
}

/** Runs in other threads: names nothing outside of itself. One stream takes frame after frame, a new one follows a damaged frame. */
function packageWork({ _NapiBindings: { Decompressor } }: NativeStreams): Work {
  let stream: InstanceType<typeof Decompressor> | null = null;
  return (from, into) => {
    const used = stream ?? new Decompressor();
    stream = null;
    let at = 0;
    used.data(Buffer.from(from.buffer, from.byteOffset, from.length), (plain) => {
      if (at + plain.length <= into.length) into.set(plain, at);
      at += plain.length;
    });
    if (at === into.length) stream = used;
    return at === into.length ? at : 0;
  };
}

const nativeDecompressor: Decompressor = decompressor(
  decompressNatively,
  async (from, into) => decompressNatively(from, into),
  new Crew(() => `async () => (${packageWork})(require(${JSON.stringify(requireHere().resolve(PACKAGE))}))`),
  (from, size) => boundedFrame(from, size) ?? from.subarray(0, 0),
);

/** On the calling thread: at this speed handing clusters to other threads and back gains little. */
function nativeCompressor(found: NativePackage, level: number): Compressor {
  const sync = (from: Uint8Array, maxLength: number): Uint8Array | null =>
    fit(withContentSize(found.compress(from, level), from.length), maxLength);
  return { name: "zstd", parallel: 1, sync, async: async (from, maxLength) => sync(from, maxLength) };
}

let runtimes: CodecProvider | null | undefined;
/** Looked for when zstd is first needed: loading node:zlib takes a while. */
const own = (): CodecProvider | null => (runtimes === undefined ? (runtimes = builtin()) : runtimes);

/**
 * zstd for runtimes with node:zlib. The decoder always works; the encoder is the runtime's, else the optional native
 * package's, else that of `fallback` (the WebAssembly encoder).
 */
export function nodeZstd(fallback: CodecProvider): CodecProvider {
  const decoder = (): Decompressor => own()?.decompressor ?? nativeDecompressor;
  return {
    name: "zstd",
    decompressor: {
      name: "zstd",
      sync: (from, into) => decoder().sync!(from, into),
      async: (from, into) => decoder().async!(from, into),
      many: (units) => decoder().many!(units),
    },
    compressor: (options) => {
      const builtIn = own()?.compressor;
      if (builtIn !== undefined) return builtIn(options);
      const found = nativePackage();
      if (found !== null) return nativeCompressor(found, codecOption("level", options.level, DEFAULT_LEVEL, 1, 22));
      return fallback.compressor!(options);
    },
    load: async () => {
      if (own() === null && nativePackage() === null) await fallback.load?.();
    },
  };
}
