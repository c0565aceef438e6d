/** `blockcore`: the portable core. It knows no format by itself, so that a bundle holds only those that are passed: `open(file, { formats: [qcow2, raw] })`. */
import { Codecs } from "./codec/codec.js";
import { portableDeflate } from "./codec/deflate.js";
import { portableInflate } from "./codec/inflate.js";
import { portableZstdDecoder } from "./codec/zstd/decoder.js";
import { portableCrypto } from "./codec/crypto/portable-crypto.js";
import { BlockCore as AnyBlockCore, type BlockCoreOptions } from "./library/block-core.js";
import type { Driver } from "./block/driver.js";
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
} from "./library/functions.js";
import type { Platform } from "./library/options.js";
import { portablePlatform } from "./library/portable-platform.js";
import type { Profile } from "./qmp/command.js";
import { portableStorage, storageByUrl, type PortableSource } from "./platform/sources.js";

export type { PortableSource as Source } from "./platform/sources.js";
export * from "./library/exports.js";
export * from "./library/live-exports.js";
export { qcow2 } from "./formats/qcow2/qcow2.js";
export { Codecs, type CodecProvider } from "./codec/codec.js";
export { raw } from "./formats/raw/raw.js";

/** What qcow2 needs; others, like a zstd encoder, come with the `codecs` option. */
const codecs: Codecs = /* @__PURE__ */ new Codecs(/* @__PURE__ */ portableInflate.concat(portableDeflate, portableZstdDecoder));

/** QEMU's block layer in this program: `new BlockCore({ formats: [qcow2, raw], files: { … } })`. */
export class BlockCore<P extends Profile = "qemu-7.2"> extends AnyBlockCore<P, PortableSource> {
  constructor(options: BlockCoreOptions<P, PortableSource> & { formats: readonly Driver[] }) {
    super(portablePlatform([], codecs), options);
  }
}

const platform: Platform<PortableSource> = {
  formats: [],
  codecs,
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
