/** Exports in today's spelling. */
import { BlockError } from "../../base/error.js";
import { alternate, array, bool, enumeration, optional, str, struct, union, type UnionType } from "../../qapi/schema.js";
import { bitmapMembers, bitmapOf } from "../bitmap.js";
import { command, type Command } from "../command.js";
import { blockExportInfo } from "../schema/results.js";

const exportOptions = union(
  "BlockExportOptions",
  {
    type: enumeration("BlockExportType", ["nbd"]),
    id: str(),
    "fixed-iothread": optional(bool()),
    iothread: optional(str()),
    "node-name": str(),
    writable: optional(bool()),
    writethrough: optional(bool()),
  },
  "type",
  {
    nbd: struct("BlockExportOptionsNbd", {
      name: optional(str()),
      description: optional(str()),
      bitmaps: optional(array(alternate("BlockDirtyBitmapOrStr", { local: str(), external: bitmapMembers }))),
      "allocation-depth": optional(bool()),
    }),
  },
);

export const blockExportAdd: Command = command({
  name: "block-export-add",
  since: "5.2",
  summary: "Exports a node; NBD is the only type there is here.",
  arguments: exportOptions as unknown as UnionType<ExportOptions>,
  returns: null,
  profiles: ["qemu-7.2"],
  *run(core, args) {
    const { id } = args;
    if (!/^[A-Za-z][A-Za-z0-9\-._]*$/.test(id)) throw new BlockError("ERR_INVALID_ARGUMENT", "Invalid block export id");
    yield* core.exports.add({
      id,
      nodeName: args["node-name"],
      name: args.name ?? args["node-name"],
      description: args.description ?? "",
      writable: args.writable ?? false,
      bitmaps: (args.bitmaps ?? []).map((bitmap) => (typeof bitmap === "string" ? bitmap : bitmapOf(core, bitmap))),
      allocationDepth: args["allocation-depth"] ?? false,
    });
  },
});
interface ExportOptions {
  type: "nbd";
  id: string;
  "node-name": string;
  writable?: boolean;
  name?: string;
  description?: string;
  bitmaps?: (string | { node: string; name: string })[];
  "allocation-depth"?: boolean;
}

export const blockExportDel: Command = command({
  name: "block-export-del",
  since: "5.2",
  summary: "Takes an export away; `hard` disconnects its clients.",
  arguments: struct("block-export-del-arg", {
    id: str(),
    mode: optional(enumeration("BlockExportRemoveMode", ["safe", "hard"])),
  }),
  returns: null,
  profiles: ["qemu-7.2"],
  *run(core, args) {
    yield* core.exports.remove(args.id, args.mode === "hard");
  },
});

export const queryBlockExports: Command = command({
  name: "query-block-exports",
  since: "5.2",
  summary: "All exports.",
  arguments: null,
  returns: array(blockExportInfo),
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core) {
    return core.exports
      .all()
      .map((each) => ({ id: each.id, type: "nbd", "node-name": each.node().nodeName, "shutting-down": each.shuttingDown }));
  },
});
