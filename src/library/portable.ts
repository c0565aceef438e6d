/** What the entries without a file system of a host have in common: browser, worker, edge. */
import { allFormats } from "../platform/all-formats.js";
import { portableCodecs } from "../codec/portable.js";
import { portableCrypto } from "../codec/crypto/portable-crypto.js";
import {
  makeCompare,
  makeConvert,
  makeConvertToStream,
  makeCreate,
  makeCreateOverlay,
  makeMeasure,
  makeOpen,
  makeOpenSync,
  planConversion,
  resizeImage,
  type Library,
} from "./functions.js";
import type { Platform } from "./options.js";
import { portableStorage, storageByUrl, type PortableSource } from "../platform/sources.js";

export type { PortableSource as Source } from "../platform/sources.js";
export * from "./exports.js";
export { qcow2 } from "../formats/qcow2/qcow2.js";
export { raw } from "../formats/raw/raw.js";
export { allFormats } from "../platform/all-formats.js";
export { listOva, writeOva, type OvaContents, type OvaDisk, type OvaResult, type WriteOvaOptions } from "./ova.js";

const platform: Platform<PortableSource> = {
  formats: allFormats,
  codecs: portableCodecs,
  crypto: portableCrypto,
  protocols: [],
  byName: storageByUrl,
  toStorage: portableStorage,
};
export const open: Library<PortableSource>["open"] = /* @__PURE__ */ makeOpen(platform);
export const openSync: Library<PortableSource>["openSync"] = /* @__PURE__ */ makeOpenSync(platform);
export const create: Library<PortableSource>["create"] = /* @__PURE__ */ makeCreate(platform);
export const createOverlay: Library<PortableSource>["createOverlay"] = /* @__PURE__ */ makeCreateOverlay(platform);
export const convert: Library<PortableSource>["convert"] = /* @__PURE__ */ makeConvert(platform);
export const convertToStream: Library<PortableSource>["convertToStream"] = /* @__PURE__ */ makeConvertToStream(platform);
export const planConvert: Library<PortableSource>["planConvert"] = planConversion;
export const compare: Library<PortableSource>["compare"] = /* @__PURE__ */ makeCompare(platform);
export const measure: Library<PortableSource>["measure"] = /* @__PURE__ */ makeMeasure(platform);
export const resize: Library<PortableSource>["resize"] = resizeImage;
