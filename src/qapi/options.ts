/**
 * Options as text: QEMU's two `key=value,…` syntaxes and `json:` names.
 *
 *  - *keyval* (`--blockdev`, `--object`, `--export`): dotted keys make a tree, numeric fragments make lists, every leaf is a
 *    string that the schema converts (`parseKeyval`, then `schema.validate(tree, rootPath("keyval"))`).
 *  - *opts* (`-o`, `--image-opts`): a flat list in which a bare `key` means `key=on` and `nokey` means `key=off`.
 *
 * In both, `,,` inside a value is a comma.
 */
import { BlockError, prefixError } from "../base/error.js";
import { formatG } from "../base/format.js";
import { getMember, isJsonObject, parseJson, setMember, type JsonObject, type JsonValue } from "./json.js";
import type { InputMode } from "./schema.js";

const invalid = (message: string, hint?: string): BlockError =>
  new BlockError("ERR_INVALID_ARGUMENT", message, hint === undefined ? {} : { hint });

/** Longest option string, in characters; a limit against accidents, not a format's. */
const MAX_OPTION_TEXT: number = 16 * 1024 * 1024;
const MAX_FRAGMENT = 127;
/** Most fragments in a dotted key; as deep as JSON may nest. */
const MAX_DEPTH = 1024;

/** The value that starts at `at`: unescaped text, and where the next option starts. */
function takeValue(text: string, at: number): { value: string; next: number } {
  let value = "";
  for (;;) {
    const comma = text.indexOf(",", at);
    if (comma < 0) return { value: value + text.slice(at), next: text.length };
    value += text.slice(at, comma);
    if (text[comma + 1] !== ",") return { value, next: comma + 1 };
    value += ",";
    at = comma + 2;
  }
}

function checkLength(text: string): void {
  if (text.length > MAX_OPTION_TEXT) throw new BlockError("ERR_TOO_LARGE", "Option string is too long");
}

type Tree = Map<string, string | Tree>;

const isIndex = (fragment: string): boolean => /^[0-9]+$/.test(fragment);
/** QAPI names: an optional downstream prefix, then a letter and letters, digits, '-', '_'. */
const QAPI_NAME = /^(?:__[A-Za-z0-9.-]+_)?[A-Za-z][A-Za-z0-9_-]*/;

/** `impliedKey` is the key of the first part when that has no "=". Throws ERR_INVALID_ARGUMENT in QEMU's words. */
export function parseKeyval(text: string, impliedKey?: string): JsonObject {
  checkLength(text);
  const root: Tree = new Map();
  let implied = impliedKey;
  for (let at = 0; at < text.length; implied = undefined) at = parseOne(root, text, at, implied);
  return listify(root, "") as JsonObject;
}

function parseOne(root: Tree, text: string, at: number, implied: string | undefined): number {
  const stop = /[=,]/g;
  stop.lastIndex = at;
  const end = stop.exec(text)?.index ?? text.length;
  const isImplied = implied !== undefined && end > at && text[end] !== "=";
  const key = isImplied ? implied : text.slice(at, end);

  const fragments: string[] = [];
  for (let from = 0; ;) {
    const rest = key.slice(from);
    const name = (from > 0 ? /^[0-9]+/.exec(rest)?.[0] : undefined) ?? QAPI_NAME.exec(rest)?.[0] ?? "";
    const after = from + name.length;
    if (name === "" || (after < key.length && key[after] !== ".")) throw invalid(`Invalid parameter '${key}'`);
    if (name.length > MAX_FRAGMENT)
      throw invalid(`Parameter${name.length === key.length ? "" : " fragment"} '${name}' is too long`);
    fragments.push(name);
    if (fragments.length > MAX_DEPTH) throw invalid(`Invalid parameter '${key}'`);
    if (after === key.length) break;
    from = after + 1;
  }
  if (!isImplied && text[end] !== "=") throw invalid(`Expected '=' after parameter '${key}'`);

  // The implied key's value knows no ",,": it ends at the first comma.
  const { value, next } = isImplied ? { value: text.slice(at, end), next: end + 1 } : takeValue(text, end + 1);
  let tree = root;
  for (let i = 0; i < fragments.length; i++) {
    const name = fragments[i]!;
    const old = tree.get(name);
    const last = i === fragments.length - 1;
    if (old !== undefined && (typeof old === "string") !== last) {
      throw invalid(`Parameters '${fragments.slice(0, i + 1).join(".")}.*' used inconsistently`);
    }
    if (last) tree.set(name, value);
    else if (typeof old === "object") tree = old;
    else {
      const inner: Tree = new Map();
      tree.set(name, inner);
      tree = inner;
    }
  }
  return next;
}

/** Turns trees whose keys are all indexes into lists. */
function listify(tree: Tree, prefix: string): JsonValue {
  const members: [string, JsonValue][] = [];
  let indexes = 0;
  for (const [key, value] of tree) {
    if (isIndex(key)) indexes++;
    members.push([key, typeof value === "string" ? value : listify(value, `${prefix}${key}.`)]);
  }
  if (indexes > 0 && indexes < members.length) throw invalid(`Parameters '${prefix}*' used inconsistently`);
  if (indexes === 0) {
    const object: JsonObject = {};
    for (const [key, value] of members) setMember(object, key, value);
    return object;
  }
  const list: (JsonValue | undefined)[] = new Array(members.length).fill(undefined);
  // "0" and "00" are the same index: the later one counts, and a gap remains at the end.
  let highest = -1;
  for (const [key, value] of members) {
    const index = Math.min(Number(key), 0x7fffffff);
    highest = Math.max(highest, index);
    if (index < list.length) list[index] = value;
  }
  const length = Math.min(list.length + 1, highest + 1);
  for (let i = 0; i < length; i++) {
    if (list[i] === undefined) throw invalid(`Parameter '${prefix}${i}' missing`);
  }
  return list.slice(0, length) as JsonValue[];
}

/** An argument that is either JSON (starts with "{") or keyval, as `--blockdev` takes it. */
export function parseJsonOrKeyval(text: string, impliedKey?: string): { value: JsonObject; mode: InputMode } {
  checkLength(text);
  if (!text.startsWith("{")) return { value: parseKeyval(text, impliedKey), mode: "keyval" };
  return { value: parseJson(text) as JsonObject, mode: "json" };
}

export interface Opt {
  name: string;
  value: string;
}
export interface ParsedOpts {
  /** The value of `id=`, if given. */
  id: string | undefined;
  /** In the order given; a later one of the same name counts. */
  opts: Opt[];
  /** Warnings QEMU prints (without a prefix; lines after the first are hints). */
  warnings: string[];
}

const ID_HINT: string = "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.";

/** Names of objects, jobs and exports: letters, digits, "-", ".", "_", starting with a letter. */
export function isWellFormedId(id: string): boolean {
  return /^[A-Za-z][A-Za-z0-9._-]*$/.test(id);
}

export function checkId(id: string, parameter = "id"): void {
  if (!isWellFormedId(id)) throw invalid(`Parameter '${parameter}' expects an identifier`, ID_HINT);
}

/** `firstKey`: key of the first part when it has no "=" (as `file` in `-drive`); without it that part is a flag. */
export function parseOpts(text: string, firstKey?: string): ParsedOpts {
  checkLength(text);
  const result: ParsedOpts = { id: undefined, opts: [], warnings: [] };
  let first = firstKey;
  for (let at = 0; at < text.length; first = undefined) {
    const stop = /[=,]/g;
    stop.lastIndex = at;
    const end = stop.exec(text)?.index ?? text.length;
    let name: string;
    let value: string;
    let next: number;
    if (text[end] === "=") {
      name = text.slice(at, end);
      ({ value, next } = takeValue(text, end + 1));
    } else if (first !== undefined) {
      name = first;
      ({ value, next } = takeValue(text, at));
    } else {
      const flag = text.slice(at, end);
      const off = flag.startsWith("no");
      name = off ? flag.slice(2) : flag;
      value = off ? "off" : "on";
      next = end + 1;
      result.warnings.push(`short-form boolean option '${flag}' deprecated\nPlease use ${name}=${value} instead`);
    }
    at = next;
    if (name === "id") {
      // The first one names the set; QEMU looks no further.
      if (result.id === undefined) {
        checkId(value);
        result.id = value;
      }
      continue;
    }
    result.opts.push({ name, value });
  }
  return result;
}

/** Options as a flat object, last value of a name wins; values stay strings. */
export function optsToObject(parsed: ParsedOpts): JsonObject {
  const object: JsonObject = {};
  if (parsed.id !== undefined) setMember(object, "id", parsed.id);
  for (const { name, value } of parsed.opts) setMember(object, name, value);
  return object;
}

/** A scalar of a `json:` name as the same option would read on the command line; undefined for null, objects and lists. */
export function scalarText(value: JsonValue): string | undefined {
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return value ? "on" : "off";
  if (typeof value === "bigint") return String(value);
  return typeof value === "number" ? formatG(value, 17) : undefined;
}

/** True if the list asks for help ("help" or "?" as one of its parts). */
export function hasHelpOption(text: string): boolean {
  for (let at = 0; at < text.length;) {
    const { value, next } = takeValue(text, at);
    if (value === "help" || value === "?") return true;
    at = next;
  }
  return false;
}

/** Whether `-o` arguments may be joined with commas: not empty, no comma at either end. */
export function isValidOptionList(text: string): boolean {
  if (text === "" || text.startsWith(",")) return false;
  return (/,*$/.exec(text)![0].length & 1) === 0;
}

/** Joins the arguments of repeated `-o`. Throws "Invalid option list: …". */
export function joinOptionLists(lists: readonly string[]): string {
  for (const list of lists) if (!isValidOptionList(list)) throw invalid(`Invalid option list: ${list}`);
  return lists.join(",");
}

/** A value as it must stand in an option string. */
export function escapeOptValue(value: string): string {
  return value.replaceAll(",", ",,");
}

const JSON_PREFIX = "json:";

/** The options in a `json:{…}` file name, flattened to dotted keys. */
export function parseJsonFilename(name: string): JsonObject {
  checkLength(name);
  let value: JsonValue;
  try {
    value = parseJson(name.slice(JSON_PREFIX.length));
  } catch (error) {
    throw prefixError("Could not parse the JSON options: ", error);
  }
  if (!isJsonObject(value)) throw invalid("Invalid JSON object given");
  return flatten(value);
}

/** Nested objects and lists to dotted keys ("file.driver", "children.0"). Empty ones stay as they are. */
export function flatten(object: JsonObject): JsonObject {
  const flat: JsonObject = {};
  const visit = (value: JsonValue, key: string): void => {
    if (Array.isArray(value) && value.length > 0) value.forEach((item, index) => visit(item, `${key}.${index}`));
    else if (isJsonObject(value) && Object.keys(value).length > 0)
      for (const [name, item] of Object.entries(value)) visit(item, `${key}.${name}`);
    else setMember(flat, key, value);
  };
  for (const [name, value] of Object.entries(object)) visit(value, name);
  return flat;
}

/**
 * The opposite of `flatten`: dotted keys to nested objects and lists; `..` stands for a dot in a name.
 * @param mixed what becomes of `a.b` beside a scalar `a`: an error, or a dotted key still, which is the driver's to judge
 */
export function unflatten(flat: JsonObject, mixed: "refuse" | "keep" = "refuse"): JsonObject {
  const root: JsonObject = {};
  const seen = new Set<JsonValue>([root]);
  for (const [key, value] of Object.entries(flat)) {
    const fragments = splitDots(key);
    if (fragments.length > MAX_DEPTH) throw invalid(`Invalid parameter '${key}'`);
    if (mixed === "keep" && fragments.some((_, i) => i > 0 && Object.hasOwn(flat, fragments.slice(0, i).join(".")))) {
      setMember(root, key, value);
      continue;
    }
    let at = root;
    fragments.forEach((fragment, i) => {
      const old = getMember(at, fragment);
      if (i === fragments.length - 1) {
        if (old !== undefined) throw invalid("Cannot mix scalar and non-scalar keys");
        setMember(at, fragment, value);
      } else if (old === undefined) {
        const inner: JsonObject = {};
        seen.add(inner);
        setMember(at, fragment, inner);
        at = inner;
      } else if (seen.has(old)) {
        at = old as JsonObject;
      } else {
        throw invalid("Cannot mix scalar and non-scalar keys");
      }
    });
  }
  const lists = (value: JsonValue): JsonValue => {
    if (!seen.has(value)) return value;
    const object = value as JsonObject;
    const keys = Object.keys(object);
    const indexes = keys.filter((key) => /^(0|[1-9][0-9]*)$/.test(key)).length;
    if (value !== root && indexes > 0) {
      if (indexes < keys.length) throw invalid("Cannot mix list and non-list keys");
      return keys.map((_, index) => {
        const item = getMember(object, String(index));
        if (item === undefined) throw invalid(`Missing list index ${index}`);
        return lists(item);
      });
    }
    const result: JsonObject = {};
    for (const key of keys) setMember(result, key, lists(object[key]!));
    return result;
  };
  return lists(root) as JsonObject;
}

function splitDots(key: string): string[] {
  const fragments: string[] = [];
  let current = "";
  for (let i = 0; i < key.length; i++) {
    if (key[i] !== ".") current += key[i];
    else if (key[i + 1] === ".") {
      current += ".";
      i++;
    } else {
      fragments.push(current);
      current = "";
    }
  }
  fragments.push(current);
  return fragments;
}
