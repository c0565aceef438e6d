/**
 * What an open node is called: a plain name where opening that name gives the same node again, else `json:` with all the options
 * that make it what it is. Names follow the graph: they are derived from the node, its options and its children whenever asked for.
 */
import { BlockError } from "../base/error.js";
import type { JsonObject } from "../qapi/json.js";
import { flatten } from "../qapi/options.js";
import { directoryOf, isAbsolutePath, protocolOf } from "./filename.js";
import { writeJsonName } from "./json-names.js";
import type { Node } from "./node.js";

interface Description {
  /** A plain name that opens the same again, "" where there is none. */
  exact: string;
  /** Options that open the same again. */
  options: JsonObject;
}
/** Layers of a chain describe each other; each is described once. */
type Known = Map<Node, Description>;

/** The plain name of an open node, "" where only a `json:` description says it all. */
export function exactFilename(node: Node): string {
  return describe(node, new Map()).exact;
}

/** The name of an open node for people, messages and the headers of overlays. */
export function nodeFilename(node: Node): string {
  return written(describe(node, new Map()));
}

function written(description: Description): string {
  return description.exact === "" ? writeJsonName(description.options) : description.exact;
}

function describe(node: Node, known: Known): Description {
  const found = known.get(node);
  if (found !== undefined) return found;
  const made = node.implicit ? describe(primaryChild(node)!, known) : describeAnew(node, known);
  known.set(node, made);
  return made;
}

function describeAnew(node: Node, known: Known): Description {
  const { driver } = node;
  const options = strongOptions(node);
  const isPlain = Object.keys(options).every((name) => name === "driver" || name === "filename");
  const otherBacking = hasOtherBacking(node, known);
  for (const { name, role, node: below } of node.children) {
    if (role === "backing" && !otherBacking) continue;
    options[name] = describe(below, known).options;
  }
  if (otherBacking && node.backing === null) options["backing"] = null;
  driver.arrangeChildren?.(options);
  return { exact: plainName(node, options, isPlain && !otherBacking), options };
}

/** @param isPlain the driver alone tells how to make the node from its file */
function plainName(node: Node, options: JsonObject, isPlain: boolean): string {
  const { driver } = node;
  if (driver.exactFilename !== undefined) return driver.exactFilename(node, options);
  if (node.givenName !== "") return node.givenName.startsWith("json:") ? "" : node.givenName;
  const file = primaryChild(node);
  if (file === null || driver.category === "filter" || !isPlain) return "";
  return isNamed(file) ? exactFilename(file) : "";
}

/** Whether opening a name alone can give such a node. */
function isNamed(node: Node): boolean {
  return node.driver.category === "protocol" || node.driver.schemes !== undefined;
}

/** The driver, the file name, and those options as given that change what a reader sees; nested ones with dotted names. */
function strongOptions(node: Node): JsonObject {
  const { driver, options } = node;
  const strong = driver.strongOptions ?? [];
  const given: JsonObject = {};
  for (const name of Object.keys(options)) {
    const isNeeded = name === "filename" || strong.some((wanted) => topName(wanted) === topName(name));
    if (isNeeded) given[name] = options[name] as JsonObject;
  }
  const picked: JsonObject = { driver: driver.name };
  for (const [name, value] of Object.entries(flatten(given))) {
    const wanted = name === "filename" || strong.some((one) => (one.endsWith(".") ? name.startsWith(one) : name === one));
    if (wanted && value !== undefined) picked[name] = value;
  }
  return picked;
}

const topName = (dotted: string): string => dotted.split(".", 1)[0]!;

/** The backing node is not the one that the image names (compared by name: a different name of the same image counts, as in QEMU). */
function hasOtherBacking(node: Node, known: Known): boolean {
  // Where only metadata is looked at, backing files are not opened, and that means nothing.
  const { driver } = node;
  if (node.flags.noIO || (driver.supportsBacking !== true && driver.hasParents !== true)) return false;
  const { impl, backing, ownBacking } = node;
  const named = impl.shape === "mapped" ? (impl.backingFile?.filename ?? "") : "";
  const own = ownBacking !== null && ownBacking.named === named ? ownBacking.opened : named;
  return own !== (backing === null ? "" : written(describe(backing, known)));
}

/** The child that holds what the node shows: the file of a format, what a filter passes on. */
function primaryChild(node: Node): Node | null {
  return node.children.find(({ name, role }) => role === "filtered" || name === "file")?.node ?? null;
}

/** The file at the bottom of an image, for messages. */
export function imageName(node: Node): string {
  const below = primaryChild(node);
  return below === null ? node.filename : imageName(below);
}

/**
 * The directory that file names in an image are relative to, with its separator.
 * @throws BlockError ERR_INVALID_ARGUMENT where there is none (quorum: each child has its own)
 */
export function baseDirectory(node: Node): string {
  const { directoryless } = node.driver;
  const below = directoryless === undefined ? primaryChild(node) : null;
  if (below !== null) return baseDirectory(below);
  const exact = directoryless === undefined ? exactFilename(node) : "";
  if (exact !== "") return directoryOf(exact);
  throw new BlockError(
    "ERR_INVALID_ARGUMENT",
    `Cannot generate a base directory for ${directoryless ?? node.driver.name} nodes`,
    {
      errno: "EINVAL",
    },
  );
}

/** What `filename` means inside an image. */
export function resolveIn(node: Node, filename: string): string {
  if (filename.startsWith("json:") || protocolOf(filename) !== null || isAbsolutePath(filename)) return filename;
  return baseDirectory(node) + filename;
}
