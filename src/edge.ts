/** `blockcore/edge`: every format, for workers at the edge (workerd, Deno, Bun): objects in, objects out, bounded memory. */
import { allFormats } from "./platform/all-formats.js";
import { BlockCore as AnyBlockCore, type BlockCoreOptions } from "./library/block-core.js";
import { portableCodecs } from "./codec/portable.js";
import { portablePlatform } from "./library/portable-platform.js";
import type { Profile } from "./qmp/command.js";
import type { PortableSource } from "./platform/sources.js";

export * from "./library/live-exports.js";
export * from "./library/portable.js";

/** QEMU's block layer in this worker. Names: those of `files`, "http://…", "https://…"; new ones are in memory. */
export class BlockCore<P extends Profile = "qemu-7.2"> extends AnyBlockCore<P, PortableSource> {
  constructor(options: BlockCoreOptions<P, PortableSource> = {}) {
    super(portablePlatform(allFormats, portableCodecs), options);
  }
}
