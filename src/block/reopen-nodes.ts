/**
 * Reopening nodes with other options while they are open: several at once, all or none.
 *
 * Everything is checked first. Then no request is in flight, and nodes whose options or files change are closed and opened again
 * over their children; if one of them fails, all go back to what they were.
 */
import { BlockError } from "../base/error.js";
import type { JsonObject } from "../qapi/json.js";
import { qdictOrder } from "../qapi/json-writer.js";
import { flatten } from "../qapi/options.js";
import type { BlockdevOptions, ChildRole, OpenContext, OpenFlags } from "./context.js";
import { READ_WRITE } from "./flags.js";
import { drained } from "./graph.js";
import { flush } from "./io.js";
import { Node, type Child } from "./node.js";
import type { Op } from "./op.js";
import { refuseLeftovers, takeGenericFlags } from "./open.js";
import { checkPermissions } from "./permissions.js";
import { setWritable } from "./reopen.js";
import { takeEnum } from "./take.js";

export interface ReopenRequest {
  node: Node;
  /** BlockdevOptions; what they leave out goes back to its default. */
  options: BlockdevOptions;
}

interface Link {
  name: string;
  role: ChildRole;
  from: Node | null;
  to: Node | null;
}

interface Plan {
  node: Node;
  options: BlockdevOptions;
  flags: OpenFlags;
  detectZeroes: Node["detectZeroes"];
  links: Link[];
  /** The driver has to begin anew. */
  remake: boolean;
}

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);
const isBag = (value: unknown): value is BlockdevOptions =>
  typeof value === "object" && value !== null && !(value instanceof Node) && !Array.isArray(value);
const same = (a: unknown, b: unknown): boolean => a === b || JSON.stringify(a) === JSON.stringify(b);

/** @throws BlockError in QEMU's words when something asked for cannot be changed; nothing has changed then */
export function* reopenNodes(requests: readonly ReopenRequest[]): Op<void> {
  const plans: Plan[] = [];
  for (const { node, options } of requests) planNode(node, options, null, plans);
  for (const plan of plans) for (const link of plan.links) checkLink(plan, link, plans);
  for (const plan of plans) checkWriters(plan, plans);
  yield* drainedAll(
    plans.map(({ node }) => node),
    () => apply(plans),
  );
}

function* drainedAll<T>(nodes: readonly Node[], work: () => Op<T>): Op<T> {
  const [first, ...rest] = nodes;
  return first === undefined ? yield* work() : yield* drained(first, () => drainedAll(rest, work));
}

// ---- planning -----------------------------------------------------------------------------------------------------

/** @param parent flags of the node whose options these are part of */
function planNode(node: Node, given: BlockdevOptions, parent: { flags: OpenFlags; role: ChildRole } | null, plans: Plan[]): void {
  const options: BlockdevOptions = { ...given };
  const { driver } = node;
  if (driver.mutableOptions === undefined) {
    throw new BlockError(
      "ERR_UNSUPPORTED",
      `Block format '${driver.name}' used by node '${node.nodeName}' does not support reopening files`,
    );
  }
  // What cannot be: QEMU names the first of them in the order of its tables, and the children's after their parent's.
  const bad: string[] = [];
  const nested: (() => void)[] = [];
  if (options["driver"] !== undefined && options["driver"] !== driver.name) bad.push("driver");
  if (options["node-name"] !== undefined && options["node-name"] !== node.nodeName) bad.push("node-name");
  delete options["driver"];
  delete options["node-name"];
  if (options["force-share"] === true && !node.flags.forceShare) {
    bad.push("force-share");
    delete options["force-share"];
  }
  const flags = inheritedFlags(node, parent);
  takeGenericFlags(options, flags);
  const detectZeroes = takeEnum(options, "detect-zeroes", ["off", "on", "unmap"]) ?? "off";
  if (detectZeroes === "unmap" && !flags.unmap)
    throw fail("setting detect-zeroes to unmap is not allowed without setting discard operation to unmap");
  const plan: Plan = { node, options: { ...given, driver: driver.name }, flags, detectZeroes, links: [], remake: false };
  if (node.options["node-name"] !== undefined) plan.options["node-name"] = node.nodeName;
  plans.push(plan);
  const describe: Describe = {
    unchangeable: (name, given) => void (given === undefined ? bad.push(name) : bad.push(...namesBelow(name, given))),
    child: (child, given) => void nested.push(() => planNode(child.node, given, { flags: plan.flags, role: child.role }, plans)),
  };
  planBacking(plan, options, describe);
  for (const child of node.children) if (child.role !== "backing") planChild(plan, child, options, describe);
  planOwnOptions(plan, options, describe);
  const [first] = qdictOrder(bad);
  if (first !== undefined) throw fail(`Cannot change the option '${first}'`);
  for (const work of nested) work();
}

interface Describe {
  /** An option that cannot change, or those of a child that cannot. */
  unchangeable(name: string, given?: BlockdevOptions): void;
  /** A child that gets options of its own. */
  child(child: Child, given: BlockdevOptions): void;
}

/** What options leave open: the parent's, for children that came with it, else the defaults. */
function inheritedFlags(node: Node, parent: { flags: OpenFlags; role: ChildRole } | null): OpenFlags {
  const { forceShare, writethrough } = node.flags;
  if (parent === null) return { ...READ_WRITE, forceShare, writethrough };
  const { direct, noFlush, write } = parent.flags;
  const isBacking = parent.role === "backing";
  return { ...READ_WRITE, forceShare, writethrough, direct, noFlush, write: write && !isBacking, unmap: write && !isBacking };
}

function planBacking(plan: Plan, options: BlockdevOptions, describe: Describe): void {
  const { node } = plan;
  const old = node.children.find(({ role }) => role === "backing") ?? null;
  const isGiven = "backing" in options;
  const given = options["backing"];
  delete options["backing"];
  if (node.driver.supportsBacking !== true) {
    if (isGiven && given !== null)
      throw fail(`Driver '${node.driver.name}' of node '${node.nodeName}' does not support backing files`);
    return;
  }
  if (!isGiven) {
    const { impl } = node;
    if (old !== null || (impl.shape === "mapped" && (impl.backingFile ?? null) !== null))
      throw fail(`backing is missing for '${node.nodeName}'`);
    return;
  }
  if (isBag(given)) {
    if (old === null || isReference(node, old)) describe.unchangeable("backing", given);
    else describe.child(old, given);
    return;
  }
  const to = given === null ? null : findNode(node, given);
  if (to === (old?.node ?? null)) return;
  plan.links.push({ name: "backing", role: "backing", from: old?.node ?? null, to });
}

function planChild(plan: Plan, child: Child, options: BlockdevOptions, describe: Describe): void {
  const given = options[child.name];
  delete options[child.name];
  const { node } = plan;
  if (given === undefined) return;
  if (isBag(given)) {
    if (isReference(node, child)) describe.unchangeable(child.name, given);
    else describe.child(child, given);
    return;
  }
  if (given === child.node.nodeName) return;
  if (child.name !== "file") {
    describe.unchangeable(child.name);
    return;
  }
  plan.links.push({ name: child.name, role: child.role, from: child.node, to: findNode(node, given) });
  plan.remake = true;
}

/** The child was named, not described, when it became one: its options are its own. */
export function isReference(node: Node, child: Child): boolean {
  return child.node.describedBy !== node;
}

function findNode(node: Node, name: unknown): Node {
  const found = typeof name === "string" ? (node.environment.findNode?.(name) ?? null) : null;
  if (found === null)
    throw new BlockError("ERR_NOT_FOUND", `Cannot find device='' nor node-name='${String(name)}'`, { qmpClass: "GenericError" });
  return found;
}

/** Options of a child as its parent has them: with dotted names. */
const namesBelow = (child: string, options: BlockdevOptions): string[] =>
  Object.keys(flatten({ [child]: options as JsonObject }));

const GENERIC: ReadonlySet<string> = new Set([
  "driver",
  "node-name",
  "read-only",
  "auto-read-only",
  "force-share",
  "discard",
  "detect-zeroes",
  "cache",
  "backing",
]);

function planOwnOptions(plan: Plan, options: BlockdevOptions, describe: Describe): void {
  const { node } = plan;
  const isMutable = (name: string): boolean => node.driver.mutableOptions!.includes(name.split(".")[0]!);
  // What may change in a file is for show only.
  const isFile = node.impl.shape === "storage";
  const isChild = (name: string): boolean => GENERIC.has(name) || node.children.some((child) => child.name === name);
  for (const [name, value] of Object.entries(options)) {
    if (same(node.options[name], value)) continue;
    if (isMutable(name)) plan.remake ||= !isFile;
    else describe.unchangeable(name);
  }
  for (const [name, value] of Object.entries(node.options)) {
    if (value === undefined || isChild(name) || options[name] !== undefined) continue;
    // What came as part of a file name stays.
    if (name === "filename" && plan.options["filename"] === undefined) {
      plan.options["filename"] = value;
      continue;
    }
    if (!isMutable(name)) throw fail(`Option '${name}' cannot be reset to its default value`);
    plan.remake ||= !isFile;
  }
}

// ---- checks of the whole --------------------------------------------------------------------------------------------

function checkLink(plan: Plan, link: Link, plans: readonly Plan[]): void {
  const { node } = plan;
  const { from, to, name } = link;
  if (from !== null) {
    if (from.implicit) throw fail(`Cannot replace implicit ${name} child of ${node.nodeName}`);
    for (const job of node.blockers.keys()) {
      if (from.blockers.has(job))
        throw new BlockError("ERR_BUSY", `Cannot change frozen '${name}' link from '${node.nodeName}' to '${from.nodeName}'`);
    }
  }
  if (to !== null && reaches(to, node, plans))
    throw fail(`Making '${to.nodeName}' a ${name} child of '${node.nodeName}' would create a cycle`);
  if (node.bitmaps.some(({ busy }) => busy !== null) && plan.remake)
    throw new BlockError("ERR_BUSY", `Node '${node.nodeName}' has a bitmap that is in use`);
}

/** Whether one comes from `from` down to `wanted`, with the links that are planned. */
function reaches(from: Node, wanted: Node, plans: readonly Plan[]): boolean {
  if (from === wanted) return true;
  const links = plans.find(({ node }) => node === from)?.links ?? [];
  const below = from.children.filter(({ name }) => links.every((link) => link.name !== name)).map(({ node }) => node);
  for (const { to } of links) if (to !== null) below.push(to);
  return below.some((node) => reaches(node, wanted, plans));
}

function checkWriters({ node, flags }: Plan, plans: readonly Plan[]): void {
  if (flags.write || !node.flags.write) return;
  const staysWriter = (parent: Node): boolean => (plans.find((plan) => plan.node === parent)?.flags ?? parent.flags).write;
  const isNeeded =
    [...node.blockers.values()].some((reason) => reason.includes("block job")) ||
    [...node.users].some(({ permissions }) => permissions !== undefined && (permissions.needed & 2) !== 0) ||
    node.parents.some((edge) => edge.role !== "backing" && staysWriter(edge.parent));
  if (isNeeded) throw new BlockError("ERR_BUSY", `Read-only block node '${node.nodeName}' cannot support read-write users`);
}

// ---- doing it -----------------------------------------------------------------------------------------------------

function* apply(plans: readonly Plan[]): Op<void> {
  for (const { node } of plans) if (node.flags.write) yield* flush(node);
  const undo: (() => Op<void>)[] = [];
  try {
    const changed = plans.filter(({ remake }) => remake);
    for (const { node } of changed) {
      // What has been begun is brought to an end: the file alone says all.
      yield* node.impl.close();
      const { options, flags } = node;
      undo.push(function* () {
        yield* remake(node, options, flags);
      });
    }
    for (const plan of plans) for (const link of plan.links) undo.push(switchLink(plan.node, link));
    for (const plan of plans) undo.push(...setFlags(plan));
    for (const { node } of plans) checkPermissions(node);
    for (const plan of plans) {
      const { node, flags } = plan;
      const before = node.flags.write;
      if (before === flags.write) continue;
      if (plan.remake) node.flags = { ...node.flags, write: flags.write };
      else yield* setWritable(node, flags.write);
      undo.push(() => setWritable(node, before));
    }
    for (const { node, options } of [...changed].reverse()) {
      yield* remake(node, options, node.flags);
      undo.push(() => node.impl.close());
    }
  } catch (error) {
    for (const step of undo.reverse()) yield* step();
    throw error;
  }
  for (const { node, options, links } of plans) {
    // Children that stay came as they came: named, or described here.
    for (const { name } of node.children) if (links.every((link) => link.name !== name)) options[name] = node.options[name];
    node.options = options;
    for (const { from } of links) if (from !== null) yield* from.unref();
  }
}

/** Points a link elsewhere; the old child keeps its reference until the end. The result undoes it. */
function switchLink(node: Node, { name, role, from, to }: Link): () => Op<void> {
  if (from !== null) node.detach(name);
  if (to !== null) node.attach(name, role, to.ref());
  return function* () {
    if (to !== null) {
      node.detach(name);
      yield* to.unref();
    }
    if (from !== null) node.attach(name, role, from);
  };
}

/** Everything but write access, which takes doing. */
function setFlags({ node, flags, detectZeroes }: Plan): (() => Op<void>)[] {
  const before = { flags: node.flags, detectZeroes: node.detectZeroes };
  node.flags = { ...flags, write: node.flags.write };
  node.detectZeroes = detectZeroes;
  return [
    // eslint-disable-next-line require-yield
    function* () {
      node.flags = { ...before.flags, write: node.flags.write };
      node.detectZeroes = before.detectZeroes;
    },
  ];
}

/** Opens the driver again over the children that are there; the old implementation has been closed. */
export function* remake(node: Node, options: BlockdevOptions, flags: OpenFlags): Op<void> {
  const rest: BlockdevOptions = {};
  for (const [name, value] of Object.entries(options)) {
    if (!GENERIC.has(name) && node.children.every((child) => child.name !== name)) rest[name] = value;
  }
  const existing = (name: string): Child => {
    const child = node.children.find((each) => each.name === name);
    if (child === undefined) throw fail(`A block device must be specified for "${name}"`);
    return child;
  };
  const context: OpenContext = {
    environment: node.environment,
    node,
    options: rest,
    flags,
    // eslint-disable-next-line require-yield
    *openChild(name) {
      return existing(name);
    },
    // eslint-disable-next-line require-yield
    *openReference(name) {
      return existing(name);
    },
  };
  const impl = yield* node.driver.open(context);
  refuseLeftovers(node.driver, rest);
  node.impl = impl;
}
