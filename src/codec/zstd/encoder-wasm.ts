/**
 * zstd encoder for runtimes without one of their own: libzstd as WebAssembly from the optional package
 * `@cloudpss/zstd`, loaded when first asked for. It runs on the calling thread.
 */
import { BlockError } from "../../base/error.js";
import { codecOption, type CodecProvider, type CompressSync } from "../codec.js";
import { withContentSize } from "./frame.js";

interface WasmPackage {
  compress(from: Uint8Array, level: number): Uint8Array;
}

let loaded: WasmPackage | null = null;
let loading: Promise<WasmPackage> | null = null;

function load(): Promise<WasmPackage> {
  loading ??= import("@cloudpss/zstd/wasm").then(
    (found: WasmPackage) => (loaded = found),
    (cause: unknown) => {
      loading = null;
      throw new BlockError("ERR_UNSUPPORTED", "Compressing with zstd needs the optional package @cloudpss/zstd in this runtime", {
        cause,
        hint: "Install @cloudpss/zstd, or use a runtime whose node:zlib has zstd.",
      });
    },
  );
  return loading;
}

function compress(found: WasmPackage, from: Uint8Array, level: number, maxLength: number): Uint8Array | null {
  const frame = withContentSize(found.compress(from, level), from.length);
  return frame.length <= maxLength ? frame : null;
}

export const wasmZstdEncoder: CodecProvider = {
  name: "zstd",
  compressor: (options) => {
    const level = codecOption("level", options.level, 3, 1, 22);
    const sync: CompressSync = (from, maxLength) => {
      if (loaded === null)
        throw new BlockError("ERR_UNSUPPORTED", "The zstd encoder is not loaded yet", {
          hint: "Await codecs.load('zstd') first.",
        });
      return compress(loaded, from, level, maxLength);
    };
    return {
      name: "zstd",
      sync,
      async: async (from, maxLength) => compress(loaded ?? (await load()), from, level, maxLength),
      parallel: 1,
    };
  },
  load: async () => void (await load()),
};
