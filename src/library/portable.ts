/** What the entries without a file system of a host have in common: browser, worker, edge. */
import { allFormats } from "../platform/all-formats.js";
import { portableCodecs } from "../codec/portable.js";
import { portableCrypto } from "../codec/crypto/portable-crypto.js";
import * as library from "./functions.js";
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
export const open: library.Library<PortableSource>["open"] = /* @__PURE__ */ library.makeOpen(platform);
export const openSync: library.Library<PortableSource>["openSync"] = /* @__PURE__ */ library.makeOpenSync(platform);
export const create: library.Library<PortableSource>["create"] = /* @__PURE__ */ library.makeCreate(platform);
export const createOverlay: library.Library<PortableSource>["createOverlay"] =
  /* @__PURE__ */ library.makeCreateOverlay(platform);
export const convert: library.Library<PortableSource>["convert"] = /* @__PURE__ */ library.makeConvert(platform);
export const convertToStream: library.Library<PortableSource>["convertToStream"] =
  /* @__PURE__ */ library.makeConvertToStream(platform);
export const compare: library.Library<PortableSource>["compare"] = /* @__PURE__ */ library.makeCompare(platform);
export const measure: library.Library<PortableSource>["measure"] = /* @__PURE__ */ library.makeMeasure(platform);
