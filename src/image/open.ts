/** Opening an image as the image operations name it: a file name, or with `imageOpts` a list of options. */
import { BlockError, prefixError } from "../base/error.js";
import type { BlockdevOptions, Environment, OpenFlags } from "../block/context.js";
import type { Node } from "../block/node.js";
import { openNode, type OpenSpec } from "../block/open.js";
import type { Op } from "../block/op.js";
import type { JsonObject } from "../qapi/json.js";
import { optsToObject, parseOpts, unflatten } from "../qapi/options.js";

export { diskSize as imageSize, SECTOR } from "../block/sector.js";

export interface ImageSpec {
  /** Path, URL, `json:{…}`; with `imageOpts` "driver=…,file.filename=…". */
  filename: string;
  /** Driver of the format; probed when absent. */
  format?: string | undefined;
  imageOpts?: boolean | undefined;
  /** More options of the driver. */
  options?: BlockdevOptions | undefined;
}

/** Opens an image with qemu-img's wording of failures. The caller owns one reference. */
export function* openImage(environment: Environment, spec: ImageSpec, flags: Partial<OpenFlags> = {}): Op<Node> {
  if (flags.forceShare === true && spec.imageOpts === true && /(?:^|,)force-share=(?!on(?:,|$))/.test(spec.filename))
    throw new BlockError("ERR_INVALID_ARGUMENT", "--force-share/-U conflicts with image options");
  try {
    const node = yield* openNode(environment, openSpecOf(environment, spec, flags));
    warnIfGuessedRaw(environment, node, spec.filename);
    return node;
  } catch (error) {
    throw prefixError(`Could not open '${spec.filename}': `, error);
  }
}

/** Writable images that were only guessed to be raw come with a warning. */
export function warnIfGuessedRaw(environment: Environment, node: Node, filename: string): void {
  if (node.readOnly || !node.probed || node.driver.name !== "raw") return;
  environment.warn(
    `WARNING: Image format was not specified for '${filename}' and probing guessed raw.\n` +
      "         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.\n" +
      "         Specify the 'raw' format explicitly to remove the restrictions.",
  );
}

function openSpecOf(environment: Environment, spec: ImageSpec, flags: Partial<OpenFlags>): OpenSpec {
  const driver = spec.format === undefined ? {} : { driver: spec.format };
  if (spec.imageOpts === true) {
    const parsed = parseOpts(spec.filename, "file");
    for (const warning of parsed.warnings) environment.warn(warning);
    const options = unflatten(optsToObject(parsed), "keep") as BlockdevOptions;
    return { ...driver, options: { ...options, ...spec.options }, flags };
  }
  return { filename: spec.filename, ...driver, ...(spec.options === undefined ? {} : { options: spec.options }), flags };
}

/** Of the options an image was made with, those it takes to open it again: the ids of its secrets. */
export function keySecretOptions(options: Readonly<Record<string, unknown>>): BlockdevOptions {
  return unflatten(
    Object.fromEntries(
      Object.entries(options).filter(([name, value]) => name.endsWith("key-secret") && value !== undefined),
    ) as JsonObject,
  ) as BlockdevOptions;
}

/** Runs `work` on an open image and closes it, whatever happens. A failure to close counts when there was none before. */
export function* usingImage<T>(node: Node, work: (node: Node) => Op<T>): Op<T> {
  let result: T;
  try {
    result = yield* work(node);
  } catch (error) {
    yield* closeQuietly(node);
    throw error;
  }
  yield* node.unref();
  return result;
}

export function* closeQuietly(node: Node): Op<void> {
  try {
    yield* node.unref();
  } catch {
    // the first failure is what the user needs to see
  }
}
