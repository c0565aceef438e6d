/**
 * Deflate and inflate over the runtime's own zlib (Node.js, Deno, Bun, workerd with nodejs_compat).
 *
 * The asynchronous faces run in libuv's thread pool: with several calls in flight they use every core.
 */
import type { ZlibOptions } from "node:zlib";
import {
  codecOption,
  type CodecProvider,
  type Compressor,
  type CompressorOptions,
  type Decompressor,
  type DecompressSync,
} from "./codec.js";
import { inflateRaw as portableRaw, inflateZlib as portableZlib } from "./inflate.js";
import { Crew, decompressTogether } from "./node-crew.js";
import { inflaterOf, type Inflater } from "./node-inflate.js";

/** libuv's pool has four threads unless UV_THREADPOOL_SIZE says otherwise; twice that keeps them fed. */
const PARALLEL = 8;
/** zlib's buffers for tiny units still have to be at least this large. */
const MIN_CHUNK = 64;

/** Loaded with the first compressed unit. */
const zlib = (): typeof import("node:zlib") => process.getBuiltinModule("node:zlib");

type Whole = (from: Uint8Array, options: ZlibOptions) => Uint8Array;
type WholeAsync = (from: Uint8Array, options: ZlibOptions, done: (error: Error | null, result: Uint8Array) => void) => void;

/** One byte more than needed: a full unit then ends inside the first output buffer, and no second one is allocated. */
const limits = (into: Uint8Array): ZlibOptions => ({
  chunkSize: Math.max(MIN_CHUNK, into.length + 1),
  maxOutputLength: Math.max(1, into.length),
});

/**
 * The runtime's one-shot calls refuse streams that are longer than the unit or end without their end mark, which QEMU
 * accepts when the unit is full. Those rare streams are decided by the portable decoder; so are damaged ones.
 */
function decompressor(
  name: "deflate" | "zlib",
  make: "createInflateRaw" | "createInflate",
  probe: Uint8Array,
  whole: Whole,
  wholeAsync: WholeAsync,
  careful: DecompressSync,
): Decompressor {
  let inflater: Inflater | null | undefined;
  const sync: DecompressSync = (from, into) => {
    if (inflater === undefined) inflater = inflaterOf(zlib()[make](), probe);
    if (inflater !== null) {
      if (!inflater(from, into)) careful(from, into);
      return;
    }
    let plain: Uint8Array;
    try {
      plain = whole(from, limits(into));
    } catch {
      careful(from, into);
      return;
    }
    if (plain.length === into.length) into.set(plain);
    else careful(from, into);
  };
  const crew = new Crew(
    () => `async () => {
      const inflate = (${inflaterOf})(process.getBuiltinModule("node:zlib").${make}(), Uint8Array.of(${probe}));
      return (from, into) => (inflate(from, into) ? into.length : 0);
    }`,
  );
  return {
    name,
    sync,
    many: decompressTogether(crew, sync),
    async: (from, into) =>
      new Promise((resolve, reject) => {
        wholeAsync(from, limits(into), (error, plain) => {
          try {
            if (error === null && plain.length === into.length) into.set(plain);
            else careful(from, into);
            resolve();
          } catch (failure) {
            reject(failure);
          }
        });
      }),
  };
}

function compressor(name: "deflate" | "zlib", whole: Whole, wholeAsync: WholeAsync, options: CompressorOptions): Compressor {
  const level = codecOption("level", options.level, 6, 0, 9);
  const windowBits = codecOption("windowBits", options.windowBits, name === "deflate" ? 12 : 15, 9, 15);
  const zlibOptions = (from: Uint8Array): ZlibOptions => ({
    level,
    windowBits,
    memLevel: 9,
    chunkSize: Math.max(MIN_CHUNK, from.length),
  });
  const fit = (compressed: Uint8Array, maxLength: number): Uint8Array | null =>
    compressed.length <= maxLength ? compressed : null;
  return {
    name,
    parallel: PARALLEL,
    sync: (from, maxLength) => fit(whole(from, zlibOptions(from)), maxLength),
    async: (from, maxLength) =>
      new Promise((resolve, reject) => {
        wholeAsync(from, zlibOptions(from), (error, compressed) =>
          error === null ? resolve(fit(compressed, maxLength)) : reject(error),
        );
      }),
  };
}

/** The byte "a": a final block with fixed codes, as it is and in a zlib wrapper. */
const PROBE: Uint8Array = Uint8Array.of(0x4b, 0x04, 0x00);
const ZLIB_PROBE: Uint8Array = Uint8Array.of(0x78, 0x9c, 0x4b, 0x04, 0x00, 0x00, 0x62, 0x00, 0x62);

export const nodeZlib: readonly CodecProvider[] = [
  {
    name: "deflate",
    decompressor: decompressor(
      "deflate",
      "createInflateRaw",
      PROBE,
      (...call) => zlib().inflateRawSync(...call),
      (...call) => zlib().inflateRaw(...call),
      portableRaw,
    ),
    compressor: (options) => compressor("deflate", zlib().deflateRawSync, zlib().deflateRaw, options),
  },
  {
    name: "zlib",
    decompressor: decompressor(
      "zlib",
      "createInflate",
      ZLIB_PROBE,
      (...call) => zlib().inflateSync(...call),
      (...call) => zlib().inflate(...call),
      portableZlib,
    ),
    compressor: (options) => compressor("zlib", zlib().deflateSync, zlib().deflate, options),
  },
];
