/** `blockcore`: the portable core. It knows no format by itself, so that a bundle holds only those that are passed: `open(file, { formats: [qcow2, raw] })`. */
import { Codecs } from "./codec/codec.js";
import { portableDeflate } from "./codec/deflate.js";
import { portableInflate } from "./codec/inflate.js";
import { portableZstdDecoder } from "./codec/zstd/decoder.js";
import { portableCrypto } from "./codec/crypto/portable-crypto.js";
import { makeLibrary, type Library } from "./library.js";
import { portableStorage, type PortableSource } from "./sources.js";

export type { PortableSource as Source } from "./sources.js";
export * from "./exports.js";
export { qcow2 } from "./formats/qcow2/qcow2.js";
export { Codecs, type CodecProvider } from "./codec/codec.js";
export { raw } from "./formats/raw/raw.js";

/** What qcow2 needs; others, like a zstd encoder, come with the `codecs` option. */
const codecs: Codecs = /* @__PURE__ */ new Codecs(/* @__PURE__ */ [...portableInflate, ...portableDeflate, ...portableZstdDecoder]);

const library: Library<PortableSource> = /* @__PURE__ */ makeLibrary<PortableSource>({ formats: [], codecs, crypto: portableCrypto, protocols: [], toStorage: portableStorage });
export const open: Library<PortableSource>["open"] = library.open;
export const openSync: Library<PortableSource>["openSync"] = library.openSync;
export const create: Library<PortableSource>["create"] = library.create;
export const createOverlay: Library<PortableSource>["createOverlay"] = library.createOverlay;
export const convert: Library<PortableSource>["convert"] = library.convert;
export const planConvert: Library<PortableSource>["planConvert"] = library.planConvert;
export const compare: Library<PortableSource>["compare"] = library.compare;
export const measure: Library<PortableSource>["measure"] = library.measure;
export const resize: Library<PortableSource>["resize"] = library.resize;
