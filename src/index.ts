/** `blockcore`: the portable core. It knows no format by itself, so that a bundle holds only those that are passed: `open(file, { formats: [qcow2, raw] })`. */
import { Codecs } from "./codec/codec.js";
import { portableDeflate } from "./codec/deflate.js";
import { portableInflate } from "./codec/inflate.js";
import { portableZstdDecoder } from "./codec/zstd/decoder.js";
import { portableCrypto } from "./codec/crypto/portable-crypto.js";
import { BlockCore as AnyBlockCore, type BlockCoreOptions } from "./library/block-core.js";
import type { Driver } from "./block/driver.js";
import { makeLibrary, member, type Library } from "./library/functions.js";
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

const library: Library<PortableSource> = /* @__PURE__ */ makeLibrary<PortableSource>({
  formats: [],
  codecs,
  crypto: portableCrypto,
  protocols: [],
  byName: storageByUrl,
  toStorage: portableStorage,
});
export const open: Library<PortableSource>["open"] = /* @__PURE__ */ member(library, "open");
export const openSync: Library<PortableSource>["openSync"] = /* @__PURE__ */ member(library, "openSync");
export const create: Library<PortableSource>["create"] = /* @__PURE__ */ member(library, "create");
export const createOverlay: Library<PortableSource>["createOverlay"] = /* @__PURE__ */ member(library, "createOverlay");
export const convert: Library<PortableSource>["convert"] = /* @__PURE__ */ member(library, "convert");
export const convertToStream: Library<PortableSource>["convertToStream"] = /* @__PURE__ */ member(library, "convertToStream");
export const planConvert: Library<PortableSource>["planConvert"] = /* @__PURE__ */ member(library, "planConvert");
export const compare: Library<PortableSource>["compare"] = /* @__PURE__ */ member(library, "compare");
export const measure: Library<PortableSource>["measure"] = /* @__PURE__ */ member(library, "measure");
export const resize: Library<PortableSource>["resize"] = /* @__PURE__ */ member(library, "resize");
