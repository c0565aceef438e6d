/** `convert` as a whole: opens the sources, makes (or opens) the target, copies, closes. */
import { BlockError, prefixError } from "../base/error.js";
import type { Environment, OpenFlags } from "../block/context.js";
import type { Driver } from "../block/driver.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import type { Opt } from "../qapi/options.js";
import { checkBitmaps, copyBitmaps } from "./bitmaps.js";
import { clusterSize, convertInto, startsZeroed, type ConvertOptions } from "./convert.js";
import { createFileWithImage } from "./create-file.js";
import { createOptionTable, formatForCreate, protocolForCreate, readCreateOptions } from "./create-options.js";
import { closeQuietly, imageSize, keySecretOptions, openImage, type ImageSpec } from "./open.js";
import type { OperationOptions } from "./signal.js";
import { loadSnapshot } from "./snapshot-load.js";

export interface ConvertRequest
  extends
    OperationOptions,
    Pick<ConvertOptions, "compress" | "sparseSize" | "parallel" | "outOfOrder" | "rateLimit" | "onBadSector"> {
  sources: readonly ImageSpec[];
  sourceFlags?: Partial<OpenFlags>;
  target: ImageSpec;
  targetFlags?: Partial<OpenFlags>;
  /** Creation options of the target. */
  options?: readonly Opt[];
  /** The target exists: do not make it. */
  noCreate?: boolean;
  /** With `noCreate`: it is known to read as zeros. */
  targetIsZero?: boolean;
  backingFile?: string | undefined;
  backingFormat?: string | undefined;
  /** Internal snapshot of the (only) source to copy instead of its active disk. */
  snapshot?: string | undefined;
  /** Copy persistent bitmaps, too. */
  bitmaps?: boolean;
  skipBrokenBitmaps?: boolean;
}

export function* convertImage(environment: Environment, request: ConvertRequest): Op<void> {
  const sources: Node[] = [];
  try {
    for (const spec of request.sources) sources.push(yield* openImage(environment, spec, request.sourceFlags));
    if (request.snapshot !== undefined) yield* loadSnapshot(sources[0]!, request.snapshot);
    const size = sources.reduce((sum, node) => sum + imageSize(node), 0);
    const overBacking =
      request.noCreate === true ? request.backingFile !== undefined : yield* makeTarget(environment, request, sources, size);
    const secrets =
      request.noCreate === true
        ? {}
        : keySecretOptions(Object.fromEntries((request.options ?? []).map(({ name, value }) => [name, value])));
    const target = yield* openImage(
      environment,
      { ...request.target, options: { ...request.target.options, ...secrets } },
      { ...request.targetFlags, write: true, unmap: (request.sparseSize ?? 4096) > 0 },
    );
    try {
      if (imageSize(target) < size) throw new BlockError("ERR_OUT_OF_RANGE", "output file is smaller than input file");
      if (request.compress === true) clusterSize(target);
      yield* convertInto(sources, target, {
        ...request,
        overBacking,
        preallocated: request.noCreate === true || isPreallocated(request.options),
        targetIsZero: request.targetIsZero === true || (request.noCreate !== true && startsZeroed(target)),
      });
      if (request.bitmaps === true) yield* copyBitmaps(sources[0]!, target, environment.warn);
    } catch (error) {
      yield* closeQuietly(target);
      throw error;
    }
    yield* target.unref();
  } finally {
    for (const node of sources) yield* closeQuietly(node);
  }
}

function isPreallocated(options: readonly Opt[] = []): boolean {
  return options.some(({ name, value }) => name === "preallocation" && value !== "off");
}

/** Checks and makes the target. Returns whether it has a backing file. */
function* makeTarget(environment: Environment, request: ConvertRequest, sources: readonly Node[], size: number): Op<boolean> {
  const { filename, format = "raw" } = request.target;
  const driver: Driver = formatForCreate(environment, format);
  const table = createOptionTable(driver, protocolForCreate(environment, filename));
  const values = readCreateOptions(table, request.options ?? []);
  const given = values["size"] as number | undefined;
  values["size"] = given ?? size;
  if (request.backingFile !== undefined) {
    if (!table.some((option) => option.name === "backing_file"))
      throw new BlockError("ERR_UNSUPPORTED", `Backing file not supported for file format '${format}'`);
    values["backing_file"] = request.backingFile;
  }
  if (request.backingFormat !== undefined) {
    if (!table.some((option) => option.name === "backing_fmt"))
      throw new BlockError("ERR_UNSUPPORTED", `Backing format not supported for file format '${format}'`);
    values["backing_fmt"] = request.backingFormat;
  }
  const backingFile = values["backing_file"];
  const overBacking = typeof backingFile === "string" && backingFile !== "";
  if (overBacking && sources.length > 1) {
    throw new BlockError(
      "ERR_INVALID_ARGUMENT",
      "Having a backing file for the target makes no sense when concatenating multiple input images",
    );
  }
  if (overBacking && values["backing_fmt"] === undefined)
    throw new BlockError("ERR_INVALID_ARGUMENT", "Use of backing file requires explicit backing format");
  if (request.compress === true) refuseCompression(driver, values);
  if (request.bitmaps === true) {
    if (sources.length > 1) throw new BlockError("ERR_INVALID_ARGUMENT", "Copying bitmaps only possible with single source");
    checkBitmaps(sources[0]!, request.skipBrokenBitmaps === true);
    if (driver.name !== "qcow2") throw new BlockError("ERR_UNSUPPORTED", `Format driver '${format}' does not support bitmaps`);
  }
  const { size: _size, ...options } = values;
  try {
    yield* createFileWithImage(environment, driver, filename, values["size"] as number, options);
  } catch (error) {
    throw prefixError(`${filename}: error while converting ${format}: `, error);
  }
  return overBacking;
}

/** Formats that can store compressed clusters; others say so before a file is made. */
const COMPRESSING: ReadonlySet<string> = new Set(["qcow2", "qcow", "vmdk"]);

function refuseCompression(driver: Driver, values: Readonly<Record<string, unknown>>): void {
  if (!COMPRESSING.has(driver.name))
    throw new BlockError("ERR_UNSUPPORTED", "Compression not supported for this file format", { errno: "ENOTSUP" });
  const preallocation = values["preallocation"];
  if (values["encryption"] === true || values["encrypt.format"] !== undefined) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "Compression and encryption not supported at the same time");
  }
  if (typeof preallocation === "string" && preallocation !== "off") {
    throw new BlockError("ERR_INVALID_ARGUMENT", "Compression and preallocation not supported at the same time");
  }
}
