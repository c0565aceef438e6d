/** `blockcore/node`: every format; paths, other names of files and URLs of every protocol besides the portable sources. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { allFormats } from "./platform/all-formats.js";
import { BlockCore as AnyBlockCore, type BlockCoreOptions, type BlockCorePlatform } from "./library/block-core.js";
import { nodeCodecs } from "./codec/node-codecs.js";
import { nodeCrypto } from "./codec/node-crypto.js";
import * as library from "./library/functions.js";
import type { Platform } from "./library/options.js";
import { fileDriver, hostedDrivers } from "./platform/node-environment.js";
import { listenOnSockets } from "./platform/node-listen.js";
import type { Profile } from "./qmp/command.js";
import { portableStorage, type PortableSource } from "./platform/sources.js";

/** Strings are QEMU's names of files: paths, `nbd://…`, `http://…`, `json:{…}`. */
export type Source = string | PortableSource;
export * from "./library/exports.js";
export * from "./library/live-exports.js";
export { allFormats } from "./platform/all-formats.js";
export { listOva, writeOva, type OvaContents, type OvaDisk, type OvaResult, type WriteOvaOptions } from "./library/ova.js";
export { qcow2 } from "./formats/qcow2/qcow2.js";
export { raw } from "./formats/raw/raw.js";
export { createFileStorage, openFileStorage, type FileStorage, type FileStorageOptions } from "./storage/node-fs.js";

const MEMORY_BUDGET: number = 64 * 1024 * 1024;

const platform: Platform<Source> = {
  formats: allFormats,
  codecs: nodeCodecs,
  crypto: nodeCrypto,
  memoryBudget: MEMORY_BUDGET,
  protocols: /* @__PURE__ */ hostedDrivers("both"),
  toStorage: (source, writable) => {
    if (!(source instanceof URL)) return typeof source === "string" ? source : portableStorage(source, writable);
    if (source.protocol === "file:") return fileURLToPath(source);
    return /^https?:$/.test(source.protocol) ? portableStorage(source, writable) : source.href;
  },
};
export const open: library.Library<Source>["open"] = /* @__PURE__ */ library.makeOpen(platform);
export const openSync: library.Library<Source>["openSync"] = /* @__PURE__ */ library.makeOpenSync(platform);
export const create: library.Library<Source>["create"] = /* @__PURE__ */ library.makeCreate(platform);
export const createOverlay: library.Library<Source>["createOverlay"] = /* @__PURE__ */ library.makeCreateOverlay(platform);
export const convert: library.Library<Source>["convert"] = /* @__PURE__ */ library.makeConvert(platform);
export const convertToStream: library.Library<Source>["convertToStream"] = /* @__PURE__ */ library.makeConvertToStream(platform);
export const compare: library.Library<Source>["compare"] = /* @__PURE__ */ library.makeCompare(platform);
export const measure: library.Library<Source>["measure"] = /* @__PURE__ */ library.makeMeasure(platform);

/** QEMU's block layer in this process. Names are those of `files`, else paths of local files, `http://…`, `nbd://…`. */
export class BlockCore<P extends Profile = "qemu-7.2"> extends AnyBlockCore<P, PortableSource> {
  constructor(options: BlockCoreOptions<P, PortableSource> = {}) {
    const platform: BlockCorePlatform<PortableSource> = {
      formats: allFormats,
      codecs: nodeCodecs,
      crypto: nodeCrypto,
      memoryBudget: MEMORY_BUDGET,
      drivers: hostedDrivers("both"),
      schemes: {},
      hostFile: fileDriver("both"),
      toStorage: (source) => portableStorage(source, true),
      core: { listen: listenOnSockets, readFile: readFileSync },
    };
    super(platform, options);
  }
}
