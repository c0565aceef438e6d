/**
 * Portable inflate (RFC 1950, RFC 1951) over pako's port of zlib, driven through its low-level calls so that it writes
 * straight into the caller's bytes and stops when they are full, exactly as QEMU drives zlib.
 */
import { ZStream, Z_BUF_ERROR, Z_FINISH, Z_OK, Z_STREAM_END, zlibInflate, zlibInflateInit2, zlibInflateReset2 } from "pako";
import { corruptStream, type CodecProvider, type DecompressSync } from "./codec.js";

const NOTHING = new Uint8Array(0);

/** One zlib state per wrapper, reset for every unit: a state holds tables that are costly to allocate. */
function inflater(name: "deflate" | "zlib", windowBits: number): DecompressSync {
  let idle: ZStream | null = null;
  return (from, into) => {
    const stream = idle ?? new ZStream();
    const status = idle === null ? zlibInflateInit2(stream, windowBits) : zlibInflateReset2(stream, windowBits);
    if (status !== Z_OK) throw corruptStream(name, "inflate could not be started");
    idle = null; // stays null when zlib throws: a broken state is not used again
    stream.input = from;
    stream.next_in = 0;
    stream.avail_in = from.length;
    stream.output = into as Uint8Array<ArrayBuffer>;
    stream.next_out = 0;
    stream.avail_out = into.length;
    let result: number;
    let message: string;
    try {
      result = zlibInflate(stream, Z_FINISH);
      message = stream.msg;
    } catch (error) {
      throw corruptStream(name, "the stream contradicts its format", error);
    }
    const left = stream.avail_out;
    stream.input = NOTHING;
    stream.output = NOTHING as Uint8Array<ArrayBuffer>;
    idle = stream;
    if (result !== Z_STREAM_END && result !== Z_OK && result !== Z_BUF_ERROR)
      throw corruptStream(name, message || "the stream contradicts its format");
    if (left > 0) throw corruptStream(name, `${into.length - left} bytes where ${into.length} are expected`);
  };
}

const rawSync: DecompressSync = inflater("deflate", -15);
const zlibSync: DecompressSync = inflater("zlib", 15);

/** Raw inflate with QEMU's rules for qcow2 clusters; any window size. */
export const inflateRaw: DecompressSync = rawSync;
/** Inflate of a zlib-wrapped stream. The checksum at its end is verified when the stream ends inside `into`. */
export const inflateZlib: DecompressSync = zlibSync;

export const portableInflate: readonly CodecProvider[] = [
  { name: "deflate", decompressor: { name: "deflate", sync: rawSync, async: async (from, into) => rawSync(from, into) } },
  { name: "zlib", decompressor: { name: "zlib", sync: zlibSync, async: async (from, into) => zlibSync(from, into) } },
];
