/** The codecs that run anywhere (browsers, workers): nothing here needs a runtime's own compression. */
import { adcDecoder } from "./adc.js";
import { bzip2Decoder } from "./bzip2.js";
import { Codecs, type CodecProvider } from "./codec.js";
import { portableDeflate } from "./deflate.js";
import { portableInflate } from "./inflate.js";
import { lzfseDecoder } from "./lzfse/decoder.js";
import { xzDecoder } from "./xz/decoder.js";
import { portableZstdDecoder } from "./zstd/decoder.js";
import { wasmZstdEncoder } from "./zstd/encoder-wasm.js";

/** Decoders of the archive formats only Apple's disk images use; one implementation for every runtime. */
export const portableArchive: readonly CodecProvider[] = [adcDecoder, bzip2Decoder, lzfseDecoder, xzDecoder];

const portableCodecProviders: readonly CodecProvider[] = [
  ...portableInflate,
  ...portableDeflate,
  ...portableZstdDecoder,
  wasmZstdEncoder,
  ...portableArchive,
];
export const portableCodecs: Codecs = new Codecs(portableCodecProviders);
