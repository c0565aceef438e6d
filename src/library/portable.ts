/** What the entries without a file system of a host have in common: browser, worker, edge. */
import { allFormats } from "../platform/all-formats.js";
import { portableCodecs } from "../codec/portable.js";
import { portableCrypto } from "../codec/crypto/portable-crypto.js";
import { makeLibrary, type Library } from "./functions.js";
import { portableStorage, storageByUrl, type PortableSource } from "../platform/sources.js";

export type { PortableSource as Source } from "../platform/sources.js";
export * from "./exports.js";
export { qcow2 } from "../formats/qcow2/qcow2.js";
export { raw } from "../formats/raw/raw.js";
export { allFormats } from "../platform/all-formats.js";
export { listOva, writeOva, type OvaContents, type OvaDisk, type OvaResult, type WriteOvaOptions } from "./ova.js";

const library: Library<PortableSource> = /* @__PURE__ */ makeLibrary<PortableSource>({
  formats: allFormats,
  codecs: portableCodecs,
  crypto: portableCrypto,
  protocols: [],
  byName: storageByUrl,
  toStorage: portableStorage,
});
export const open: Library<PortableSource>["open"] = library.open;
export const openSync: Library<PortableSource>["openSync"] = library.openSync;
export const create: Library<PortableSource>["create"] = library.create;
export const createOverlay: Library<PortableSource>["createOverlay"] = library.createOverlay;
export const convert: Library<PortableSource>["convert"] = library.convert;
export const convertToStream: Library<PortableSource>["convertToStream"] = library.convertToStream;
export const planConvert: Library<PortableSource>["planConvert"] = library.planConvert;
export const compare: Library<PortableSource>["compare"] = library.compare;
export const measure: Library<PortableSource>["measure"] = library.measure;
export const resize: Library<PortableSource>["resize"] = library.resize;
