/**
 * `quorum`: several copies of one disk. Reads take the content that enough copies agree on, or (fifo) that of the first copy that can be
 * read; writes go to all and succeed when enough of them do. Copies that fail or differ are reported (QUORUM_REPORT_BAD), and repaired
 * where that is asked for.
 */
import { BlockError, errnoError, toBlockError, type Errno } from "../base/error.js";
import type { OpenContext } from "../block/context.js";
import type { Driver, InterceptImpl, TruncateOptions, WriteFlags } from "../block/driver.js";
import { ExtentKind, type ExtentList } from "../block/extent.js";
import { flush, read, truncate, write, writeZeroes } from "../block/io.js";
import type { Child, Node } from "../block/node.js";
import type { JsonValue } from "../qapi/json.js";
import { parallel, type Op } from "../block/op.js";
import { Permission, type Permissions } from "../block/permissions.js";
import { blockStatus } from "../block/status.js";
import { take, takeBool, takeEnum, takeSize } from "../block/take.js";

type Outcome<T = void> = { ok: true; value: T } | { ok: false; error: BlockError };

const SECTOR = 512;
/** Copies of one disk there may be: each read needs a buffer for each. */
const MAX_CHILDREN = 32;

function* attempt<T>(op: Op<T>): Op<Outcome<T>> {
  try {
    return { ok: true, value: yield* op };
  } catch (error) {
    return { ok: false, error: toBlockError(error) };
  }
}

interface Settings {
  threshold: number;
  pattern: "quorum" | "fifo";
  blkverify: boolean;
  rewrite: boolean;
}

class Quorum implements InterceptImpl {
  readonly shape = "intercept";
  readonly #node: Node;
  readonly #children: Child[];
  readonly #settings: Settings;
  #nextChild: number;

  constructor(node: Node, children: readonly Child[], settings: Settings) {
    this.#node = node;
    this.#children = [...children];
    this.#nextChild = children.length;
    this.#settings = settings;
  }
  get size(): number {
    return this.#children[0]!.node.size;
  }

  childPermissions(_usual: Permissions, { needed, shared }: Permissions): Permissions {
    const quiet = Permission.consistentRead | Permission.writeUnchanged;
    return {
      needed: needed | (this.#settings.rewrite ? Permission.write : 0),
      shared: (shared & quiet) | Permission.writeUnchanged,
    };
  }
  addChild(node: Node): void {
    const bad = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);
    if (this.#settings.blkverify) throw bad("Cannot add a child to a quorum in blkverify mode");
    if (this.#children.length >= MAX_CHILDREN) throw bad("Too many children");
    if (node.size !== this.size) throw bad("The children of a quorum must all have the same size");
    this.#children.push(this.#node.attach(`children.${this.#nextChild++}`, "image", node.ref()));
  }
  removeChild(name: string): Node {
    const index = this.#children.findIndex((child) => child.name === name);
    if (this.#children.length <= this.#settings.threshold) {
      throw new BlockError(
        "ERR_INVALID_ARGUMENT",
        `The number of children cannot be lower than the vote threshold ${this.#settings.threshold}`,
      );
    }
    this.#children.splice(index, 1);
    return this.#node.detach(name)!;
  }

  #bad(type: "read" | "write" | "flush", child: Child, offset: number, length: number, error?: BlockError): void {
    this.#node.environment.onEvent?.("QUORUM_REPORT_BAD", {
      type,
      "node-name": child.node.nodeName,
      "sector-num": Math.floor(offset / SECTOR),
      "sectors-count": Math.ceil((offset + length) / SECTOR) - Math.floor(offset / SECTOR),
      ...(error === undefined ? {} : { error: error.message }),
    });
  }
  #failure(offset: number, length: number): void {
    this.#node.environment.onEvent?.("QUORUM_FAILURE", {
      reference: this.#node.nodeName,
      "sector-num": Math.floor(offset / SECTOR),
      "sectors-count": Math.ceil((offset + length) / SECTOR) - Math.floor(offset / SECTOR),
    });
  }

  // ---- reading ----------------------------------------------------------------------------------------------------

  *read(into: Uint8Array, offset: number): Op<void> {
    // Nobody writes between the copies being read and one being put right.
    const lease = this.#settings.rewrite ? yield* this.#node.requests.acquire(offset, into.length, 1) : null;
    try {
      if (this.#settings.pattern === "fifo") yield* this.#readFirst(into, offset);
      else yield* this.#readVoting(into, offset);
    } finally {
      if (lease !== null) this.#node.requests.release(lease);
    }
  }

  *#readFirst(into: Uint8Array, offset: number): Op<void> {
    let last: BlockError | null = null;
    for (const child of this.#children) {
      const outcome = yield* attempt(read(child.node, into, offset));
      if (outcome.ok) return;
      this.#bad("read", child, offset, into.length, outcome.error);
      last = outcome.error;
    }
    throw last!;
  }

  *#readVoting(into: Uint8Array, offset: number): Op<void> {
    const { length } = into;
    const copies = this.#children.map((_, index) => (index === 0 ? into : new Uint8Array(length)));
    const outcomes = yield* parallel(this.#children.map((child, index) => attempt(read(child.node, copies[index]!, offset))));
    const good = this.#children.flatMap((_, index) => (outcomes[index]!.ok ? [index] : []));
    outcomes.forEach((outcome, index) => {
      if (!outcome.ok) this.#bad("read", this.#children[index]!, offset, length, outcome.error);
    });
    if (good.length < this.#settings.threshold) {
      this.#failure(offset, length);
      throw mostCommon(outcomes);
    }
    const camps: number[][] = [];
    for (const index of good) {
      const camp = camps.find(([first]) => firstDifference(copies[first!]!, copies[index]!) < 0);
      if (camp === undefined) camps.push([index]);
      else camp.push(index);
    }
    if (camps.length > 1) {
      if (this.#settings.blkverify) {
        const at = offset + firstDifference(copies[camps[0]![0]!]!, copies[camps[1]![0]!]!);
        throw new BlockError("ERR_IO", `quorum: offset=${offset} bytes=${length} Content mismatch at offset ${at}`, {
          offset: at,
          node: this.#node.nodeName,
        });
      }
      camps.sort((a, b) => b.length - a.length);
      if (camps[0]!.length < this.#settings.threshold) {
        this.#failure(offset, length);
        throw errnoError("EIO", undefined, { node: this.#node.nodeName, offset });
      }
    }
    const winner = camps[0]!;
    const content = copies[winner[0]!]!;
    const losers = camps.slice(1).flat();
    for (const index of losers) this.#bad("read", this.#children[index]!, offset, length);
    if (this.#settings.rewrite) {
      // The copies may be writable although the quorum is not: guests must not write, but corrections go on.
      const nodes = losers.map((index) => this.#children[index]!.node).filter((node) => !node.readOnly);
      yield* parallel(nodes.map((node) => attempt(write(node, content, offset))));
    }
    if (content !== into) into.set(content);
  }

  /** Zeros where all children have zeros; elsewhere they have to vote. */
  *status(offset: number, length: number, out: ExtentList): Op<void> {
    let zeros = length;
    let data = 0;
    for (const child of this.#children) {
      const outcome = yield* attempt(blockStatus(child.node, offset, length));
      if (!outcome.ok) this.#bad("read", child, offset, length, outcome.error);
      if (outcome.ok && outcome.value.zero) zeros = Math.min(zeros, outcome.value.length);
      else data = Math.max(data, outcome.ok ? outcome.value.length : length);
    }
    if (data > 0) out.push(offset, data, ExtentKind.data);
    else out.push(offset, zeros, ExtentKind.zero);
  }

  // ---- writing ----------------------------------------------------------------------------------------------------

  *#all(type: "write" | "flush", offset: number, length: number, request: (node: Node) => Op<void>): Op<void> {
    const outcomes = yield* parallel(this.#children.map((child) => attempt(request(child.node))));
    let good = 0;
    outcomes.forEach((outcome, index) => {
      if (outcome.ok) good++;
      else this.#bad(type, this.#children[index]!, offset, length, outcome.error);
    });
    if (good >= this.#settings.threshold) return;
    this.#failure(offset, length);
    throw mostCommon(outcomes);
  }

  *#changing(offset: number, length: number, work: Op<void>): Op<void> {
    const lease = this.#settings.rewrite ? yield* this.#node.requests.acquire(offset, length, 1) : null;
    try {
      yield* work;
    } finally {
      if (lease !== null) this.#node.requests.release(lease);
    }
  }
  write(from: Uint8Array, offset: number, flags: WriteFlags): Op<void> {
    return this.#changing(
      offset,
      from.length,
      this.#all("write", offset, from.length, (node) => write(node, from, offset, flags)),
    );
  }
  writeZeroes(offset: number, length: number, flags: WriteFlags): Op<void> {
    return this.#changing(
      offset,
      length,
      this.#all("write", offset, length, (node) => writeZeroes(node, offset, length, flags)),
    );
  }
  flush(): Op<void> {
    return this.#all("flush", 0, this.size, flush);
  }
  /** All copies or, when one fails, an error: copies of different sizes are no quorum. */
  *truncate(size: number, options: TruncateOptions): Op<void> {
    for (const child of this.#children) yield* truncate(child.node, size, options);
  }
  // eslint-disable-next-line require-yield
  *close(): Op<void> {}
}

/** Of the errors the one that most copies had; the first of those. */
function mostCommon(outcomes: readonly Outcome[]): BlockError {
  const votes = new Map<Errno, { count: number; error: BlockError }>();
  for (const outcome of outcomes) {
    if (outcome.ok) continue;
    const vote = votes.get(outcome.error.errno);
    if (vote === undefined) votes.set(outcome.error.errno, { count: 1, error: outcome.error });
    else vote.count++;
  }
  let best: { count: number; error: BlockError } | undefined;
  for (const vote of votes.values()) if (best === undefined || vote.count > best.count) best = vote;
  return best?.error ?? errnoError("EIO");
}

function firstDifference(a: Uint8Array, b: Uint8Array): number {
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return at;
  return -1;
}

function* openQuorum(context: OpenContext): Op<Quorum> {
  const { options, node } = context;
  const given = take(options, "children");
  const list: unknown[] = typeof given === "object" && given !== null ? Object.values(given) : [];
  if (list.length === 0) throw new BlockError("ERR_INVALID_ARGUMENT", "Number of provided children must be 1 or more");
  if (list.length > MAX_CHILDREN)
    throw new BlockError("ERR_TOO_LARGE", `A quorum cannot have more than ${MAX_CHILDREN} children`, { errno: "EINVAL" });
  const settings: Settings = {
    threshold: takeSize(options, "vote-threshold") ?? 0,
    pattern: takeEnum(options, "read-pattern", ["quorum", "fifo"]) ?? "quorum",
    blkverify: takeBool(options, "blkverify") ?? false,
    rewrite: takeBool(options, "rewrite-corrupted") ?? false,
  };
  if (settings.threshold < 1)
    throw new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'vote-threshold' expects a value >= 1", { errno: "ERANGE" });
  if (settings.threshold > list.length)
    throw new BlockError("ERR_INVALID_ARGUMENT", "threshold may not exceed children count", { errno: "ERANGE" });
  if (settings.blkverify && (list.length !== 2 || settings.threshold !== 2)) {
    throw new BlockError(
      "ERR_INVALID_ARGUMENT",
      "blkverify=on can only be set if there are exactly two files and vote-threshold is 2",
    );
  }
  if (settings.pattern === "quorum" && settings.rewrite && settings.blkverify) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "rewrite-corrupted=on cannot be used with blkverify=on");
  }
  if (settings.pattern === "fifo") {
    // There are no votes to be outvoted by.
    settings.blkverify = false;
    settings.rewrite = false;
  }
  const children: Child[] = [];
  for (const [index, child] of list.entries()) {
    options[`children.${index}`] = child;
    children.push(yield* context.openChild(`children.${index}`, "image", { format: true }));
  }
  const size = children[0]!.node.size;
  if (children.some((child) => child.node.size !== size)) {
    throw new BlockError("ERR_IO", "The children of a quorum must all have the same size", { node: node.nodeName });
  }
  return new Quorum(node, children, settings);
}

export const quorum: Driver = {
  name: "quorum",
  category: "filter",
  runtimeOptions: ["children", "vote-threshold", "blkverify", "rewrite-corrupted", "read-pattern"],
  strongOptions: ["vote-threshold", "blkverify", "rewrite-corrupted", "read-pattern"],
  directoryless: "quorum",
  arrangeChildren(options) {
    const children: JsonValue[] = [];
    for (const name of Object.keys(options)) {
      if (!name.startsWith("children.")) continue;
      children.push(options[name]!);
      delete options[name];
    }
    options["children"] = children;
  },
  open: openQuorum,
};
