/** Makes an image (or an empty file) as a job. */
import { BlockError } from "../../base/error.js";
import type { Node } from "../../block/node.js";
import { createImage } from "../../block/create.js";
import { truncate } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import {
  bool,
  enumeration,
  optional,
  size,
  str,
  struct,
  toSafeNumber,
  union,
  type AnySchema,
  type Members,
  type StructType,
  type UnionType,
} from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { prealloc } from "../schema/common.js";
import { blockdevRef } from "../schema/blockdev-options.js";

const file: Members = { file: blockdevRef, size: size() };
const opt = (type: AnySchema): ReturnType<typeof optional> => optional(type) as never;
// oxlint-disable-next-line typescript/no-explicit-any
const VARIANTS: Record<string, StructType<any>> = {
  file: struct("BlockdevCreateOptionsFile", { filename: str(), size: size(), preallocation: opt(prealloc), nocow: opt(bool()) }),
  parallels: struct("BlockdevCreateOptionsParallels", { ...file, "cluster-size": opt(size()) }),
  qcow: struct("BlockdevCreateOptionsQcow", { ...file, "backing-file": opt(str()) }),
  qcow2: struct("BlockdevCreateOptionsQcow2", {
    ...file,
    version: opt(enumeration("BlockdevQcow2Version", ["v2", "v3"])),
    "backing-file": opt(str()),
    "backing-fmt": opt(str()),
    "cluster-size": opt(size()),
    preallocation: opt(prealloc),
    "lazy-refcounts": opt(bool()),
    "refcount-bits": opt(size()),
    "extended-l2": opt(bool()),
    "compression-type": opt(enumeration("Qcow2CompressionType", ["zlib", "zstd"])),
  }),
  qed: struct("BlockdevCreateOptionsQed", {
    ...file,
    "backing-file": opt(str()),
    "backing-fmt": opt(str()),
    "cluster-size": opt(size()),
    "table-size": opt(size()),
  }),
  vdi: struct("BlockdevCreateOptionsVdi", { ...file, preallocation: opt(prealloc) }),
  vhdx: struct("BlockdevCreateOptionsVhdx", {
    ...file,
    "log-size": opt(size()),
    "block-size": opt(size()),
    subformat: opt(enumeration("BlockdevVhdxSubformat", ["dynamic", "fixed"])),
    "block-state-zero": opt(bool()),
  }),
  vpc: struct("BlockdevCreateOptionsVpc", {
    ...file,
    subformat: opt(enumeration("BlockdevVpcSubformat", ["dynamic", "fixed"])),
    "force-size": opt(bool()),
  }),
};
const createOptions = union(
  "BlockdevCreateOptions",
  { driver: enumeration("BlockdevDriver", Object.keys(VARIANTS)) },
  "driver",
  VARIANTS,
);

interface CreateArguments {
  "job-id": string;
  options: Record<string, unknown> & { driver: string };
}

export const blockdevCreate: Command = command({
  name: "blockdev-create",
  since: "3.0",
  summary: "Starts a job that makes an image in a node, or a file.",
  arguments: struct("blockdev-create-arg", {
    "job-id": str(),
    options: createOptions as unknown as UnionType<CreateArguments["options"]>,
  }),
  returns: null,
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core, args) {
    const { driver: name, file: reference, filename, size: wanted, ...rest } = args.options;
    const driver = core.environment.drivers.get(name);
    if (driver === undefined) throw new BlockError("ERR_UNSUPPORTED", `Block driver '${name}' not found or not supported`);
    const bytes = toSafeNumber(wanted as number, "size");
    const id = core.jobs.idFor(args["job-id"], "");
    const options = creationOptions(rest);
    const target: Node | null = typeof reference === "string" ? core.any(reference) : null;
    if (name !== "file" && target === null)
      throw new BlockError("ERR_INVALID_ARGUMENT", "The 'file' of blockdev-create must be the name of a node");
    const job = core.jobs.create({
      id,
      driver: {
        type: "create",
        *run(running): Op<void> {
          running.progress = { current: 0, total: 1 };
          if (target === null) {
            const make = driver.createFile;
            if (make === undefined) throw new BlockError("ERR_UNSUPPORTED", `Driver '${name}' does not support blockdev-create`);
            const node = yield* make(core.environment, String(filename));
            try {
              if (bytes > 0)
                yield* truncate(node, bytes, {
                  preallocation: (rest["preallocation"] as "off" | undefined) ?? "off",
                  exact: true,
                });
            } finally {
              yield* node.unref();
            }
          } else {
            if (target.readOnly) throw new BlockError("ERR_READ_ONLY", "Block node is read-only");
            yield* truncate(target, 0, { preallocation: "off" });
            yield* createImage(core.environment, { driver, filename: target.filename, size: bytes, options, file: target });
          }
          running.progress.current = 1;
        },
      },
      autoDismiss: false,
      nodes: target === null ? [] : [target],
    });
    core.jobs.start(job);
  },
});

/** "cluster-size" of QMP is "cluster_size" of create; versions are called otherwise. */
function creationOptions(given: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const options: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given)) {
    if (name === "version") options["compat"] = value === "v2" ? "0.10" : "1.1";
    else options[name === "table-size" ? "table_size" : name.replaceAll("-", "_")] = typeof value === "bigint" ? Infinity : value;
  }
  return options;
}
