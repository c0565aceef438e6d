/**
 * Opening nodes: from a file name, from options, or both; probing; children; backing chains; and the gate that stands before
 * everything an image names.
 */
import { dropStoredBitmaps, openInactive } from "./inactive.js";
import { BlockError, prefixError } from "../base/error.js";
import type { BlockdevOptions, ChildRole, Environment, OpenContext, OpenFlags, Reference } from "./context.js";
import type { Driver } from "./driver.js";
import { READ_ONLY } from "./flags.js";
import { filenameToOptions, protocolOf } from "./filename.js";
import { read } from "./io.js";
import { Node, type Child } from "./node.js";
import { imageName, resolveIn } from "./node-filename.js";
import type { Op } from "./op.js";
import { explainFailure } from "./other-content.js";
import { checkNode } from "./permissions.js";
import { take, takeBool, takeChoice, takeString } from "./take.js";

/** Bytes that probing looks at. */
const PROBE_LENGTH = 2048;
/** Layers of one backing chain (a loop is found earlier; this bounds hostile chains). */
export const MAX_CHAIN_DEPTH = 200;

export interface OpenSpec {
  /** Path, URL, `json:{…}`; or nothing when `options` say it all. */
  filename?: string;
  /** Format or protocol driver; probed when absent. */
  driver?: string;
  options?: BlockdevOptions;
  flags?: Partial<OpenFlags>;
}

/** What was opened on the way from the root to here, to find loops. */
type Chain = readonly string[];

/** Opens a node and everything below it. The caller owns one reference (`unref`). */
export function* openNode(environment: Environment, spec: OpenSpec): Op<Node> {
  const flags: OpenFlags = { ...READ_ONLY, ...spec.flags };
  return yield* openSpec(
    environment,
    spec.filename,
    { ...spec.options, ...(spec.driver === undefined ? {} : { driver: spec.driver }) },
    flags,
    [],
  );
}

function findDriver(environment: Environment, name: string): Driver {
  const driver = environment.drivers.get(name);
  if (driver === undefined) throw new BlockError("ERR_UNSUPPORTED", `Unknown driver '${name}'`, { errno: "EINVAL" });
  return driver;
}

/** Options that every driver has: a node keeps those it was given, so that it can be opened again as it is. */
const KEPT: readonly string[] = ["read-only", "auto-read-only", "force-share", "discard", "cache"];

/** @param protocol the node is to be the file below a format: nothing is probed on the way down through filters */
function* openSpec(
  environment: Environment,
  filename: string | undefined,
  given: BlockdevOptions,
  flags: OpenFlags,
  chain: Chain,
  protocol = false,
): Op<Node> {
  const node = yield* openAny(environment, filename, given, flags, chain, protocol);
  for (const name of KEPT) if (given[name] !== undefined) node.options[name] = given[name];
  return node;
}

function* openAny(
  environment: Environment,
  filename: string | undefined,
  given: BlockdevOptions,
  flags: OpenFlags,
  chain: Chain,
  protocol: boolean,
): Op<Node> {
  if (chain.length >= MAX_CHAIN_DEPTH) {
    throw new BlockError("ERR_TOO_LARGE", `The chain of images is deeper than ${MAX_CHAIN_DEPTH} layers`, { errno: "EINVAL" });
  }
  let options = { ...given };
  if (filename !== undefined && filename.startsWith("json:")) {
    options = { ...filenameToOptions(filename, environment.drivers), ...options };
    filename = undefined;
  }
  if (filename === "")
    throw new BlockError("ERR_INVALID_ARGUMENT", "The 'file' block driver requires a file name", { errno: "EINVAL" });
  takeGenericFlags(options, flags);
  const driverName = takeString(options, "driver");
  if (driverName !== undefined) {
    const driver = findDriver(environment, driverName);
    if (driver.category === "protocol" || driver.parseFilename !== undefined) {
      if (filename !== undefined) options = { ...protocolOptions(environment, driver, filename), ...options };
      return yield* construct(environment, driver, options, flags, chain, protocol);
    }
    if (filename !== undefined) {
      const file = addFilename(environment, options["file"], filename);
      // A filter on top shows the image, not the bytes of its file.
      options["file"] = driver.category === "filter" && !protocol && options["file"] === undefined ? { filename } : file;
    }
    return yield* construct(environment, driver, options, flags, chain, protocol);
  }
  if (filename === undefined && options["file"] === undefined) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "Must specify either driver or file", { errno: "EINVAL" });
  }
  const fileOptions =
    filename !== undefined ? mergeFile(filenameToOptions(filename, environment.drivers), options["file"]) : options["file"];
  delete options["file"];
  const file = yield* openChildSpec(environment, fileOptions, imageFileFlags(flags), chain, false);
  try {
    const driver = yield* probeFormat(environment, file);
    const node = yield* construct(environment, driver, options, flags, chain, protocol, file);
    node.probed = true;
    return node;
  } catch (error) {
    yield* dropQuietly(file);
    throw error;
  }
}

function mergeFile(fromName: BlockdevOptions, given: unknown): unknown {
  if (given === undefined) return fromName;
  if (typeof given === "object" && given !== null) return { ...fromName, ...given };
  throw new BlockError("ERR_INVALID_ARGUMENT", "Cannot specify a file name and a 'file' node at the same time");
}

/** The options of a child, given or not, with the file name it is to have: below its format, where they name one. */
export function addFilename(environment: Environment, given: unknown, filename: string): unknown {
  const named = filenameToOptions(filename, environment.drivers);
  if (typeof given !== "object" || given === null || given instanceof Node) return mergeFile(named, given);
  const bag = given as BlockdevOptions;
  const driver = typeof bag["driver"] === "string" ? environment.drivers.get(bag["driver"]) : undefined;
  if (driver === undefined || driver.category === "protocol") return mergeFile(named, bag);
  if (driver.parseFilename !== undefined) return { ...protocolOptions(environment, driver, filename), ...bag };
  return { ...bag, file: addFilename(environment, bag["file"], filename) };
}

function protocolOptions(environment: Environment, driver: Driver, filename: string): BlockdevOptions {
  if (protocolOf(filename) === null) return driver.parseFilename?.(filename) ?? { filename };
  const { driver: named, ...rest } = filenameToOptions(filename, environment.drivers);
  return named === driver.name ? rest : { filename };
}

/** The file below a format needs no backing, and keeps write access only if the format has it. */
function imageFileFlags(flags: OpenFlags): OpenFlags {
  return { ...flags, noBacking: false, unmap: flags.write ? true : flags.unmap };
}

/** Takes the options that every driver has off a bag and into flags. */
export function takeGenericFlags(options: BlockdevOptions, flags: OpenFlags): void {
  const readOnly = takeBool(options, "read-only");
  if (readOnly === true) flags.write = false;
  const automatic = takeBool(options, "auto-read-only");
  if (automatic !== undefined || readOnly === true) flags.autoReadOnly = flags.write && automatic === true;
  if (takeBool(options, "force-share") === true) {
    if (flags.write) throw new BlockError("ERR_INVALID_ARGUMENT", "force-share=on can only be used with read-only images");
    flags.forceShare = true;
  }
  const discard = takeString(options, "discard");
  if (discard !== undefined && !["ignore", "unmap", "off", "on"].includes(discard))
    throw new BlockError("ERR_INVALID_ARGUMENT", "Invalid discard option", { errno: "EINVAL" });
  if (discard !== undefined) flags.unmap = discard === "unmap" || discard === "on";
  const cache = take(options, "cache");
  if (typeof cache === "object" && cache !== null) {
    const bag = { ...cache } as BlockdevOptions;
    const member = (name: string): boolean | undefined => takeBool({ [`cache.${name}`]: bag[name] }, `cache.${name}`);
    const direct = member("direct");
    const noFlush = member("no-flush");
    if (direct !== undefined) flags.direct = direct;
    if (noFlush !== undefined) flags.noFlush = noFlush;
    // Whether writes wait for the disk is a matter of the drive, not of the node.
    if (bag["writeback"] !== undefined) options["cache.writeback"] = bag["writeback"];
  }
}

/** A child given as options, as a node name, or as a Node. */
function* openChildSpec(environment: Environment, given: unknown, flags: OpenFlags, chain: Chain, probe: boolean): Op<Node> {
  if (given instanceof Node) return given.ref();
  if (typeof given === "string") {
    const found = environment.findNode?.(given) ?? null;
    if (found === null)
      throw new BlockError("ERR_NOT_FOUND", `Cannot find device='${given}' nor node-name='${given}'`, {
        qmpClass: "GenericError",
      });
    return found.ref();
  }
  if (typeof given !== "object" || given === null)
    throw new BlockError("ERR_INVALID_ARGUMENT", 'A block device must be specified for "file"');
  const options = { ...given } as BlockdevOptions;
  const childFlags = { ...flags };
  if (!probe && options["driver"] === undefined) {
    const filename = take(options, "filename");
    if (typeof filename !== "string")
      throw new BlockError("ERR_INVALID_ARGUMENT", "The 'file' block driver requires a file name");
    // A name given as an option is a name: there is no protocol in it.
    const below = protocolOf(filename) === null ? filenameToOptions(filename, environment.drivers) : { driver: "file", filename };
    Object.assign(options, { ...below, ...options });
  }
  // A name beside a filter is that of what is filtered.
  const driver = typeof options["driver"] === "string" ? environment.drivers.get(options["driver"]) : undefined;
  const isNamed = driver?.category === "filter" || options["driver"] === undefined;
  const named = isNamed && typeof options["filename"] === "string" ? (take(options, "filename") as string) : undefined;
  return yield* openSpec(environment, named, options, childFlags, chain, !probe);
}

function* construct(
  environment: Environment,
  driver: Driver,
  options: BlockdevOptions,
  flags: OpenFlags,
  chain: Chain,
  protocol: boolean,
  file?: Node,
): Op<Node> {
  const node = new Node(environment, driver, { driver: driver.name, ...options }, flags);
  const own = flags.inactive === true ? openInactive(node) : flags;
  const rest: BlockdevOptions = { ...options };
  delete rest["node-name"];
  const detectZeroes = takeChoice(rest, "detect-zeroes", ["off", "on", "unmap"]);
  if (detectZeroes === "unmap" && !flags.unmap) {
    throw new BlockError(
      "ERR_INVALID_ARGUMENT",
      "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap",
    );
  }
  node.detectZeroes = detectZeroes ?? "off";
  const backing = rest["backing"];
  const hasBacking = "backing" in rest;
  delete rest["backing"];
  if (backing === "") environment.warn('Use of "backing": "" is deprecated; use "backing": null instead');
  let waiting: Node | undefined = file;
  const context: OpenContext = {
    environment,
    node,
    options: rest,
    flags: own,
    *openChild(name, role, extra = {}) {
      const given = take(rest, name);
      if (name === "file" && waiting !== undefined) {
        const child = node.attach(name, role, waiting);
        waiting.describedBy = node;
        waiting = undefined;
        return child;
      }
      if (given === undefined || given === null) {
        throw new BlockError("ERR_INVALID_ARGUMENT", `A block device must be specified for "${name}"`);
      }
      const childFlags = { ...imageFileFlags(flags), ...extra.flags };
      const child = node.attach(
        name,
        role,
        yield* openChildSpec(environment, given, childFlags, chain, extra.format ?? (role === "filtered" && !protocol)),
      );
      // Nodes that others use already: they must be able to live with us before anything is read or written.
      if (typeof given === "string") checkNode(child.node);
      else if (!(given instanceof Node)) child.node.describedBy = node;
      if (flags.autoReadOnly === true && child.node.staysReadOnly) flags.write = own.write = false;
      return child;
    },
    *openReference(name, role, reference, more = {}) {
      // QEMU takes data file names as they are, not relative to the image.
      const found = referenceOf(node, reference, reference.kind === "data-file" ? reference.filename : undefined);
      const child = yield* openReference(node, name, role, found, { ...imageFileFlags(flags), ...more }, chain, {});
      if (role === "backing") node.ownBacking = { named: reference.filename, opened: child.node.filename };
      return child;
    },
  };
  try {
    node.impl = yield* driver.open(context);
    if (flags.inactive === true) dropStoredBitmaps(node);
    refuseLeftovers(driver, rest);
    const canHaveBacking = driver.supportsBacking === true || driver.hasParents === true;
    if (canHaveBacking && !flags.noBacking) yield* openBacking(node, hasBacking, backing, chain);
    else if (hasBacking && backing !== null && !canHaveBacking) {
      throw new BlockError("ERR_INVALID_ARGUMENT", "Driver doesn't support backing files");
    }
    return node;
  } catch (failure) {
    const error = node.isOpen ? failure : yield* explainFailure(node, failure);
    // The file that probing opened belongs to the caller until the node is whole.
    if (file !== undefined && waiting === undefined) node.detach("file");
    yield* node.abandon();
    throw error;
  }
}

export function refuseLeftovers(driver: Driver, rest: BlockdevOptions): void {
  for (const name of Object.keys(rest)) {
    throw new BlockError(
      "ERR_INVALID_ARGUMENT",
      driver.category === "protocol"
        ? `Block protocol '${driver.name}' doesn't support the option '${name}'`
        : `Block format '${driver.name}' does not support the option '${name}'`,
    );
  }
}

// ---- backing chains and references --------------------------------------------------------------------------------

/** Opens the backing file that an image names and that was left out when it was opened (`noBacking`). */
export function openOwnBacking(node: Node): Op<void> {
  return openBacking(node, false, undefined, []);
}

function* openBacking(node: Node, given: boolean, backing: unknown, chain: Chain): Op<void> {
  if (given && (backing === null || backing === "")) return;
  // The driver knew better how to find it (VHD parents).
  if (node.backing !== null) return;
  const impl = node.impl;
  const link = impl.shape === "mapped" ? (impl.backingFile ?? null) : null;
  // Formats unmap only what may go: below them that is always allowed, whatever the node itself was given.
  const flags: OpenFlags = { ...node.flags, ...node.inactive, write: false, unmap: true, check: false, noBacking: false };
  if (
    given &&
    (typeof backing === "string" ||
      backing instanceof Node ||
      (typeof backing === "object" && (link === null || isComplete(backing as BlockdevOptions))))
  ) {
    // What the caller names explicitly needs no gate.
    try {
      const child = node.attach(
        "backing",
        "backing",
        yield* openChildSpec(node.environment, backing, flags, [...chain, imageName(node)], true),
      );
      if (typeof backing !== "string" && !(backing instanceof Node)) child.node.describedBy = node;
    } catch (error) {
      throw prefixError("Could not open backing file: ", error);
    }
    return;
  }
  if (link === null) return;
  const overrides = (given ? backing : {}) as BlockdevOptions;
  const reference = referenceOf(node, { kind: "backing", ...link });
  try {
    const child = yield* openReference(node, "backing", "backing", reference, flags, chain, overrides);
    if (Object.keys(overrides).length === 0) node.ownBacking = { named: link.filename, opened: child.node.filename };
  } catch (error) {
    throw prefixError("Could not open backing file: ", error);
  }
}

function isComplete(options: BlockdevOptions): boolean {
  return options["filename"] !== undefined || options["file"] !== undefined || options["image"] !== undefined;
}

function referenceOf(node: Node, named: Omit<Reference, "resolved" | "image">, resolved?: string): Reference {
  return { ...named, image: imageName(node), resolved: resolved ?? resolveIn(node, named.filename) };
}

function* openReference(
  node: Node,
  name: string,
  role: ChildRole,
  reference: Reference,
  flags: OpenFlags,
  chain: Chain,
  overrides: BlockdevOptions,
): Op<Child> {
  const { resolved } = reference;
  const above = [...chain, reference.image];
  if (reference.kind !== "data-file" && above.includes(resolved)) {
    throw new BlockError("ERR_CORRUPT", `'${resolved}' is its own ${reference.kind} file: the chain is a loop`, {
      errno: "EINVAL",
    });
  }
  const environment = node.environment;
  const decision = yield* environment.gate(reference);
  if (decision === false) {
    throw new BlockError(
      "ERR_DENIED",
      `'${reference.image}' names the ${reference.kind} file '${reference.filename}', which was not allowed to be opened`,
      { node: node.nodeName, hint: "Allow it with the `references` option, or pass the file yourself." },
    );
  }
  if (decision instanceof Node) return node.attach(name, role, decision.ref());
  const withFormat = reference.format === null ? {} : { driver: reference.format };
  const opened =
    typeof decision === "object"
      ? yield* openSpec(environment, undefined, { ...withFormat, ...decision, ...overrides }, { ...flags }, above)
      : role === "backing" || reference.kind === "parent"
        ? yield* openNamed(environment, resolved, { ...withFormat, ...overrides }, flags, above)
        : yield* openChildSpec(environment, filenameToOptions(resolved, environment.drivers), flags, above, false);
  opened.describedBy = node;
  return node.attach(name, role, opened);
}

function* openNamed(
  environment: Environment,
  filename: string,
  options: BlockdevOptions,
  flags: OpenFlags,
  chain: Chain,
): Op<Node> {
  return yield* openSpec(environment, filename, options, { ...flags }, chain);
}

// ---- probing ------------------------------------------------------------------------------------------------------

/** The format whose driver is surest about the first bytes; raw when nobody claims them. */
function* probeFormat(environment: Environment, file: Node): Op<Driver> {
  const head = new Uint8Array(Math.min(PROBE_LENGTH, file.size));
  try {
    if (head.length > 0) yield* read(file, head, 0);
  } catch (error) {
    throw prefixError("Could not read image for determining its format: ", error);
  }
  return bestDriver(environment.drivers, head, imageName(file));
}

export function bestDriver(drivers: ReadonlyMap<string, Driver>, head: Uint8Array, filename: string): Driver {
  let best: Driver | null = null;
  let score = 0;
  for (const driver of drivers.values()) {
    const sure = driver.probe?.(head, filename) ?? 0;
    if (sure > score) {
      score = sure;
      best = driver;
    }
  }
  if (best === null) {
    throw new BlockError("ERR_NOT_THIS_FORMAT", `Could not determine image format: no driver recognises '${filename}'`, {
      hint: "Name the format, or register the raw driver.",
    });
  }
  return best;
}

function* dropQuietly(node: Node): Op<void> {
  try {
    yield* node.unref();
  } catch {
    // the first failure is what the user needs to see
  }
}
