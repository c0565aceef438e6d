/** Portable deflate over pako. Its classic hash makes the bytes the very ones QEMU's zlib writes. */
import { ZStream, Z_DEFAULT_STRATEGY, Z_FINISH, Z_OK, Z_STREAM_END, zlibDeflate, zlibDeflateInit2, zlibDeflateReset } from "pako";
import { BlockError } from "../base/error.js";
import { codecOption, type CodecProvider, type Compressor, type CompressorOptions, type CompressSync } from "./codec.js";

const NOTHING = new Uint8Array(0);
const METHOD_DEFLATED = 8;
/** What qcow2 asks of zlib; larger hash tables than zlib's default. */
const MEM_LEVEL = 9;
/** zlib reports the end only when output space is left; a result of exactly the allowed length must not be missed. */
const SPARE = 16;

function deflater(level: number, windowBits: number): CompressSync {
  let idle: ZStream | null = null;
  return (from, maxLength) => {
    const stream = idle ?? new ZStream();
    const status =
      idle === null
        ? zlibDeflateInit2(stream, level, METHOD_DEFLATED, windowBits, MEM_LEVEL, Z_DEFAULT_STRATEGY, true)
        : zlibDeflateReset(stream);
    idle = null;
    if (status !== Z_OK) throw new BlockError("ERR_INVALID_ARGUMENT", "deflate could not be started");
    const output = new Uint8Array(maxLength + SPARE);
    stream.input = from;
    stream.next_in = 0;
    stream.avail_in = from.length;
    stream.output = output;
    stream.next_out = 0;
    stream.avail_out = output.length;
    const result = zlibDeflate(stream, Z_FINISH);
    const length = stream.next_out;
    stream.input = NOTHING;
    stream.output = NOTHING;
    idle = stream;
    return result === Z_STREAM_END && length <= maxLength ? output.subarray(0, length) : null;
  };
}

function compressor(name: "deflate" | "zlib", options: CompressorOptions): Compressor {
  const level = codecOption("level", options.level, 6, 0, 9);
  const windowBits = codecOption("windowBits", options.windowBits, name === "deflate" ? 12 : 15, 9, 15);
  const sync = deflater(level, name === "deflate" ? -windowBits : windowBits);
  return { name, sync, async: async (from, maxLength) => sync(from, maxLength), parallel: 1 };
}

export const portableDeflate: readonly CodecProvider[] = [
  { name: "deflate", compressor: (options) => compressor("deflate", options) },
  { name: "zlib", compressor: (options) => compressor("zlib", options) },
];
