/** `blockcore`: the portable core. It knows no format by itself, so that a bundle holds only those that are passed: `open(file, { formats: [qcow2, raw] })`. */
import { Codecs } from "./codec/codec.js";
import { portableDeflate } from "./codec/deflate.js";
import { portableInflate } from "./codec/inflate.js";
import { portableZstdDecoder } from "./codec/zstd/decoder.js";
import { portableCrypto } from "./codec/crypto/portable-crypto.js";
import { BlockCore as AnyBlockCore, type BlockCoreOptions } from "./library/block-core.js";
import type { Driver } from "./block/driver.js";
import * as library from "./library/functions.js";
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
