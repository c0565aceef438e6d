/** Opening and reopening the session's image: cache modes, option bags, temporary overlays. */
import { BlockError, errnoError, toBlockError } from "../../base/error.js";
import type { BlockdevOptions, OpenFlags } from "../../block/context.js";
import { flush } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { openNode, type OpenSpec } from "../../block/open.js";
import { runAsync, type Op } from "../../block/op.js";
import { cacheMode, type CacheMode } from "../../image/io/cache-mode.js";
import type { ReopenRequest } from "../../image/io/reopen.js";
import { storageNode } from "../../block/storage-node.js";
import { warnIfGuessedRaw } from "../../image/open.js";
import { temporaryOverlay } from "../../image/temporary-overlay.js";
import { memoryStorage } from "../../storage/memory.js";
import type { ProgramSession } from "./session.js";

/** What -t, -n, -d, -r, -s, -C, -U, -k, -i and -o of the program and of `open` come to. */
export interface OpenRequest {
  filename?: string;
  options: BlockdevOptions;
  readOnly: boolean;
  /** Writes go to a temporary overlay that nobody keeps. */
  snapshot: boolean;
  copyOnRead: boolean;
  forceShare: boolean;
  cache: CacheMode;
  unmap: boolean;
  nativeAio: boolean;
}

export function newRequest(): OpenRequest {
  return {
    options: {},
    readOnly: false,
    snapshot: false,
    copyOnRead: false,
    forceShare: false,
    cache: cacheMode("writethrough")!,
    unmap: true,
    nativeAio: false,
  };
}

/**
 * Takes one of the letters that the program and `open` share into a request.
 * @returns what is wrong with the argument, or null
 */
export function applyOpenOption(request: OpenRequest, letter: string, argument: string): string | null {
  switch (letter) {
    case "s":
      request.snapshot = true;
      return null;
    case "C":
      request.copyOnRead = true;
      return null;
    case "n":
      request.cache = cacheMode("none")!;
      return null;
    case "r":
      request.readOnly = true;
      return null;
    case "U":
      request.forceShare = true;
      return null;
    case "k":
      request.nativeAio = true;
      return null;
    case "t": {
      const mode = cacheMode(argument);
      if (mode === null) return `Invalid cache option: ${argument}`;
      request.cache = mode;
      return null;
    }
    case "d":
      if (!["ignore", "off", "unmap", "on"].includes(argument)) return `Invalid discard option: ${argument}`;
      request.unmap = argument === "unmap" || argument === "on";
      return null;
    case "i":
      if (!["threads", "native", "io_uring"].includes(argument)) return `Invalid aio option: ${argument}`;
      request.nativeAio = argument === "native";
      return null;
  }
  return null;
}

/** Opens the session's image; what goes wrong is reported. */
export async function openSession(session: ProgramSession, request: OpenRequest): Promise<boolean> {
  if (session.node !== null) {
    session.report("file open already, try 'help close'");
    return false;
  }
  const shared = request.options?.["force-share"];
  if (request.forceShare && shared !== undefined && shared !== "on" && shared !== true) {
    session.report("-U conflicts with image options");
    return false;
  }
  try {
    await session.use(await runAsync(openRequest(session, request)));
    session.writethrough = request.cache.writethrough && !session.node!.readOnly;
    session.opened = request;
    return true;
  } catch (error) {
    const name = request.filename === undefined ? "" : ` device ${request.filename}`;
    const { message, hint } = toBlockError(error);
    session.report(`can't open${name}: ${message}`);
    if (hint !== undefined) session.complain(hint);
    return false;
  }
}

function* openRequest(session: ProgramSession, request: OpenRequest): Op<Node> {
  const { filename, cache } = request;
  const options = { ...request.options };
  if (request.forceShare) options["force-share"] = true;
  if (request.nativeAio && !cache.direct) {
    throw new BlockError(
      "ERR_INVALID_ARGUMENT",
      "aio=native was specified, but it requires cache.direct=on, which was not specified.",
    );
  }
  const readOnly = request.readOnly || isOn(options["read-only"]);
  if (request.copyOnRead && readOnly) throw new BlockError("ERR_INVALID_ARGUMENT", "Can't use copy-on-read on read-only device");
  const flags: Partial<OpenFlags> = {
    write: !request.readOnly && !request.snapshot,
    unmap: request.unmap,
    direct: cache.direct,
    noFlush: cache.noFlush,
  };
  const spec: OpenSpec = { ...(filename === undefined ? {} : { filename }), options, flags };
  if (!request.readOnly && isOn(options["read-only"])) throw new BlockError("ERR_READ_ONLY", "Block node is read-only");
  const node = yield* openNode(session.environment, spec);
  if (filename !== undefined) warnIfGuessedRaw(session.environment, node, filename);
  let top = node;
  try {
    if (request.snapshot) top = yield* overlay(session, top);
    if (request.copyOnRead) top = yield* copyOnRead(session, top);
  } catch (error) {
    yield* top.unref();
    throw error;
  }
  return top;
}

const isOn = (value: unknown): boolean =>
  value === true || value === "on" || value === "yes" || value === "true" || value === "y";

/** A writable image in memory whose backing file is `base`; takes over the reference to `base`. */
function* overlay(session: ProgramSession, base: Node): Op<Node> {
  const { environment } = session;
  const file = yield* storageNode(environment, memoryStorage(0, { name: "temporary snapshot" }));
  return yield* temporaryOverlay(environment, base, file);
}

function* copyOnRead(session: ProgramSession, below: Node): Op<Node> {
  if (!session.environment.drivers.has("copy-on-read"))
    throw errnoError("ENOTSUP", "This build of Blockcore has no copy-on-read filter");
  const top = yield* openNode(session.environment, { driver: "copy-on-read", options: { file: below }, flags: below.flags });
  yield* below.unref();
  return top;
}

/** Options of every node that may change while it is open. */
const CHANGEABLE: readonly string[] = ["read-only", "cache", "discard", "detect-zeroes", "auto-read-only", "force-share"];

/** Opens the same image anew with changed options; if that fails it is open as before. Reports failures. */
export async function reopenSession(session: ProgramSession, change: ReopenRequest): Promise<boolean> {
  const before = session.opened!;
  const node = session.node!;
  if (before.snapshot || before.copyOnRead) {
    session.report("An image opened with -s or -C cannot be reopened");
    return false;
  }
  const refused = refusedChange(node, change.options);
  if (refused !== null) {
    session.report(refused);
    return false;
  }
  const after: OpenRequest = { ...before, options: merge(keptOptions(node, before.options), change.options) };
  if (after.options["driver"] === undefined) after.options["driver"] = node.driver.name;
  if (change.write !== null) {
    after.readOnly = !change.write;
    delete after.options["read-only"];
  } else if (change.options["read-only"] !== undefined) {
    after.readOnly = isOn(change.options["read-only"]);
    delete after.options["read-only"];
  }
  if (change.cache !== null) after.cache = change.cache;
  try {
    if (!node.readOnly) await runAsync(flush(node));
    await session.close();
  } catch (error) {
    session.report(toBlockError(error).message);
    return false;
  }
  let failure: unknown;
  for (const request of [after, before]) {
    try {
      await session.use(await runAsync(openRequest(session, request)));
      session.writethrough = request.cache.writethrough && !session.node!.readOnly;
      session.opened = request;
      break;
    } catch (error) {
      failure ??= error;
    }
  }
  if (failure === undefined) return true;
  session.report(toBlockError(failure).message);
  return false;
}

/** Options of the driver's own go back to their defaults when a reopen does not name them; what the node is made of stays. */
function keptOptions(node: Node, options: BlockdevOptions): BlockdevOptions {
  const own = node.driver.runtimeOptions ?? [];
  return Object.fromEntries(
    Object.entries(options).filter(
      ([name]) => node.child(name) !== null || node.driver.category === "protocol" || !own.includes(name),
    ),
  );
}

/** What forbids the change of an open node's options, in QEMU's words; null when nothing does. */
function refusedChange(node: Node, options: BlockdevOptions): string | null {
  for (const [name, value] of Object.entries(options)) {
    if (CHANGEABLE.includes(name) || node.driver.runtimeOptions?.includes(name) === true) {
      if ((name === "read-only" || name === "auto-read-only") && !isBool(value))
        return `Parameter '${name}' expects 'on' or 'off'`;
      continue;
    }
    if (name === "driver" && value === node.driver.name) continue;
    if (name === "node-name" && value === node.nodeName) continue;
    const child = name === "backing" ? node.backing : node.child(name);
    if (child !== null && isBag(value)) {
      const inner = refusedChange(child, value);
      if (inner !== null) return inner;
      continue;
    }
    if (name === "backing" && typeof value === "string")
      return value === "" ? null : `Cannot find device='' nor node-name='${value}'`;
    return `Cannot change the option '${name}'`;
  }
  return null;
}
const isBool = (value: unknown): boolean =>
  typeof value === "boolean" || ["on", "off", "yes", "no", "true", "false", "y", "n"].includes(String(value));

/** Nested bags are merged, everything else is replaced. */
function merge(base: BlockdevOptions, change: BlockdevOptions): BlockdevOptions {
  const merged = { ...base };
  for (const [name, value] of Object.entries(change)) {
    const old = merged[name];
    merged[name] = isBag(old) && isBag(value) ? merge(old, value) : value;
  }
  return merged;
}
const isBag = (value: unknown): value is BlockdevOptions =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
