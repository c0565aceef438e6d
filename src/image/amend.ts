/** Changing the format options of an existing image. */
import { BlockError } from "../base/error.js";
import type { CreateOption, Environment } from "../block/context.js";
import type { Driver } from "../block/driver.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { describeOpts, type OptDesc } from "../qapi/opt-table.js";
import type { Opt } from "../qapi/options.js";
import { readCreateOptions } from "./create-options.js";
import { throwIfAborted, type OperationOptions } from "./signal.js";

export interface AmendRequest extends OperationOptions {
  options: readonly Opt[];
  /** Also what may make the image unreadable (erasing the last key). */
  force?: boolean;
}

/** The options of a driver that can be amended. @throws BlockError with qemu-img's words */
export function amendOptionsOf(driver: Driver): readonly CreateOption[] {
  if (driver.amendOptions === undefined) {
    throw new BlockError("ERR_UNSUPPORTED", `Format driver '${driver.name}' does not support option amendment`, {
      errno: "ENOTSUP",
    });
  }
  return driver.amendOptions;
}

/** The lines of `-o help`. */
export function amendOptionHelp(driver: Driver): string[] {
  const table: OptDesc[] = amendOptionsOf(driver).map(({ name, type, help }) => ({ name, type, help }));
  return [`Amend options for '${driver.name}':`, ...describeOpts(table)];
}

/** Finds a driver whose options a user asks for. */
export function driverForAmend(environment: Environment, format: string): Driver {
  const driver = environment.drivers.get(format);
  if (driver === undefined) throw new BlockError("ERR_UNSUPPORTED", `Unknown file format '${format}'`, { errno: "EINVAL" });
  return driver;
}

/** Amends an image that is open read-write. */
export function* amendImage(node: Node, request: AmendRequest): Op<void> {
  const { driver } = node;
  const table = amendOptionsOf(driver);
  const values = readAmendOptions(driver, table, request.options);
  const impl = node.impl;
  const amend = impl.shape === "mapped" ? impl.amend?.bind(impl) : undefined;
  if (amend === undefined)
    throw new BlockError("ERR_UNSUPPORTED", `Format driver '${driver.name}' does not support option amendment`, {
      errno: "ENOTSUP",
    });
  throwIfAborted(request.signal);
  yield* amend(values, (done, total) => request.onProgress?.({ phase: "amend", done, total }), request.force === true);
}

function readAmendOptions(driver: Driver, table: readonly CreateOption[], opts: readonly Opt[]): Record<string, unknown> {
  try {
    return readCreateOptions(table, opts);
  } catch (error) {
    const names = new Set(table.map((option) => option.name));
    const onlyCreate = (driver.createOptions ?? []).filter((option) => !names.has(option.name));
    if (!(error instanceof BlockError) || onlyCreate.length === 0) throw error;
    // Would it do as an option of create?
    try {
      readCreateOptions([...table, ...onlyCreate], opts);
    } catch {
      throw error;
    }
    throw new BlockError(error.code, error.message, {
      errno: error.errno,
      hint: "This option is only supported for image creation",
      cause: error,
    });
  }
}
