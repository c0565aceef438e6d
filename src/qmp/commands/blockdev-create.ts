/** Makes an image (or an empty file) as a job. */
import { BlockError } from "../../base/error.js";
import type { BlockdevOptions } from "../../block/context.js";
import { createImage } from "../../block/create.js";
import type { Driver } from "../../block/driver.js";
import { READ_WRITE } from "../../block/flags.js";
import { truncate } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { openNode } from "../../block/open.js";
import type { Op } from "../../block/op.js";
import { flatten } from "../../qapi/options.js";
import type { JsonObject } from "../../qapi/json.js";
import { str, struct } from "../../qapi/schema.js";
import type { BlockCore } from "../command.js";
import { command, type Command } from "../command.js";
import { blockdevCreateOptions, type BlockdevRef, type CreateOptions } from "../schema/create-options.js";

export const blockdevCreate: Command = command({
  name: "blockdev-create",
  since: "3.0",
  summary: "Starts a job that makes an image in a node, or a file.",
  arguments: struct("blockdev-create-arg", { "job-id": str(), options: blockdevCreateOptions }),
  returns: null,
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core, args) {
    const { options } = args;
    const driver = core.environment.drivers.get(options.driver);
    if (driver === undefined)
      throw new BlockError("ERR_UNSUPPORTED", `Block driver '${options.driver}' not found or not supported`);
    const job = core.jobs.create({
      id: core.jobs.idFor(args["job-id"], ""),
      driver: {
        type: "create",
        *run(running): Op<void> {
          running.progress = { current: 0, total: 1 };
          yield* options.file === undefined ? createFile(core, driver, options) : createInNode(core, driver, options);
          running.progress.current = 1;
        },
      },
      autoDismiss: false,
      nodes: [],
    });
    core.jobs.start(job);
  },
});

function* createFile(core: BlockCore, driver: Driver, options: CreateOptions): Op<void> {
  const { location } = options;
  const made =
    location === undefined
      ? driver.createFile?.(core.environment, String(options["filename"]))
      : driver.createAt?.(core.environment, { ...location });
  if (made === undefined) throw new BlockError("ERR_UNSUPPORTED", "Driver does not support blockdev-create");
  const size = representable(options.size);
  const node = yield* made;
  try {
    const preallocation = (options["preallocation"] as "off" | undefined) ?? "off";
    if (size > 0) yield* truncate(node, size, { preallocation, exact: true });
  } finally {
    yield* node.unref();
  }
}

function* createInNode(core: BlockCore, driver: Driver, given: CreateOptions): Op<void> {
  const { driver: _name, file: fileRef, size, "data-file": dataRef, extents: extentRefs, ...rest } = given;
  const used: Node[] = [];
  const nodeOf = function* (ref: BlockdevRef): Op<Node> {
    const node = yield* openRef(core, ref);
    used.push(node);
    if (node.readOnly) throw new BlockError("ERR_READ_ONLY", "Block node is read-only");
    return node;
  };
  try {
    const file = yield* nodeOf(fileRef!);
    const dataFile = dataRef === undefined ? null : yield* nodeOf(dataRef);
    const extents: Node[] = [];
    for (const ref of extentRefs ?? []) extents.push(yield* nodeOf(ref));
    yield* truncate(file, 0, { preallocation: "off" });
    yield* createImage(core.environment, {
      driver,
      filename: file.filename,
      file,
      size: Number(size),
      exactSize: BigInt(size),
      options: { ...creationOptions(rest), ...(dataFile === null ? {} : { data_file: dataFile.filename }) },
      strict: true,
      ...(dataFile === null ? {} : { files: new Map([[dataFile.filename, dataFile]]) }),
      ...(driver.name === "vmdk" ? { extents } : {}),
    });
  } finally {
    for (const node of used) yield* node.unref();
  }
}

/** A node by name, or a new one for the time of the job; the caller owns a reference. */
function* openRef(core: BlockCore, ref: BlockdevRef): Op<Node> {
  if (typeof ref === "string") return core.any(ref).ref();
  return yield* openNode(core.environment, { options: ref as BlockdevOptions, flags: { ...READ_WRITE } });
}

/** More than any format or file can have, and a multiple of everything that must be one. */
const HUGE: number = 2 ** 53 - 2 ** 32;

const representable = (value: number | bigint): number => (value > HUGE ? HUGE : Number(value));

/** "cluster-size" of QMP is "cluster_size" of create, and members of `encrypt` have dotted names; versions are called otherwise. */
function creationOptions(given: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { encrypt, ...plain } = given;
  const options: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(flatten(encrypt === undefined ? {} : ({ encrypt } as JsonObject))))
    options[name] = name === "encrypt.format" && value === "qcow" ? "aes" : value;
  for (const [name, value] of Object.entries(plain)) {
    if (value === undefined) continue;
    if (name === "version") options["compat"] = value === "v2" ? "0.10" : "1.1";
    else
      options[LUKS_NAMES.has(name) ? name : name.replaceAll("-", "_")] = typeof value === "bigint" ? representable(value) : value;
  }
  return options;
}

/** Options of the luks format keep their dashes. */
const LUKS_NAMES: ReadonlySet<string> = new Set([
  "key-secret",
  "cipher-alg",
  "cipher-mode",
  "ivgen-alg",
  "ivgen-hash-alg",
  "hash-alg",
  "iter-time",
]);
