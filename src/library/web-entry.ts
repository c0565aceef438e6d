/** What browser pages and their workers have: the portable list, and the origin private file system. */
import { allFormats } from "../platform/all-formats.js";
import { BlockCore as AnyBlockCore, type BlockCoreOptions } from "./block-core.js";
import { portableCodecs } from "../codec/portable.js";
import { portablePlatform } from "./portable-platform.js";
import type { Profile } from "../qmp/command.js";
import type { PortableSource } from "../platform/sources.js";
import { openOpfsName } from "../storage/opfs-names.js";

export * from "./live-exports.js";
export * from "./portable.js";
export { openOpfs, opfsStorage } from "../storage/opfs.js";

/** QEMU's block layer in this page or worker. Names: those of `files`, "opfs:path", "http://…", "https://…"; new ones are in memory. */
export class BlockCore<P extends Profile = "qemu-7.2"> extends AnyBlockCore<P, PortableSource> {
  constructor(options: BlockCoreOptions<P, PortableSource> = {}) {
    super(portablePlatform(allFormats, portableCodecs, { opfs: openOpfsName }), options);
  }
}
