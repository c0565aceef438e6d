/** The codecs of runtimes with node:zlib: native deflate and zstd, the portable ones for the rest. */
import { Codecs, type CodecProvider } from "./codec.js";
import { nodeZlib } from "./node-zlib.js";
import { nodeZstd } from "./node-zstd.js";
import { portableArchive } from "./portable.js";
import { wasmZstdEncoder } from "./zstd/encoder-wasm.js";

const nodeCodecProviders: readonly CodecProvider[] = [...nodeZlib, nodeZstd(wasmZstdEncoder), ...portableArchive];
export const nodeCodecs: Codecs = new Codecs(nodeCodecProviders);
