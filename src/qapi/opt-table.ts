/** Typed option lists (`-o` of create and amend, runtime options of drivers): name, type, help; values with QEMU's messages. */
import { BlockError } from "../base/error.js";
import { parseInteger, parseSize64 } from "../base/size.js";
import type { Opt } from "./options.js";
import { parseBool } from "./schema.js";

export type OptType = "string" | "bool" | "number" | "size";

export interface OptDesc {
  readonly name: string;
  readonly type: OptType;
  readonly help?: string;
  /** Shown in the help and taken when the option is not given; as the user would type it. */
  readonly default?: string;
}

type ValueOf<T extends OptType> = T extends "string" ? string : T extends "bool" ? boolean : number | bigint;
export type OptValues<T extends readonly OptDesc[]> = { [D in T[number] as D["name"]]?: ValueOf<D["type"]> };

export const SIZE_HINT: string =
  "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.";

const fail = (message: string, hint?: string): BlockError =>
  new BlockError("ERR_INVALID_ARGUMENT", message, hint === undefined ? {} : { hint });

const narrow = (value: bigint): number | bigint => (value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value);

/** `on/yes/true/y` or `off/no/false/n`. */
function parseOptBool(name: string, text: string): boolean {
  const value = parseBool(text);
  if (value === undefined) throw fail(`Parameter '${name}' expects 'on' or 'off'`);
  return value;
}

/** A 64-bit unsigned number, decimal, 0x… or 0…; "-1" is 2^64-1, as in QEMU. A bigint beyond 2^53-1. */
export function parseOptNumber(name: string, text: string): number | bigint {
  const value = parseInteger(text);
  if (value === "range") throw fail(`Value '${text}' is too large for parameter '${name}'`);
  if (value === "invalid") throw fail(`Parameter '${name}' expects a number`);
  return narrow(BigInt.asUintN(64, value));
}

/** A byte count with suffix. A bigint beyond 2^53-1. */
export function parseOptSize(name: string, text: string): number | bigint {
  const size = parseSize64(text);
  if (size.status === "range") throw fail(`Value '${text}' is out of range for parameter '${name}'`);
  if (size.status === "invalid") throw fail(`Parameter '${name}' expects a non-negative number below 2^64`, SIZE_HINT);
  return narrow(size.value);
}

function parseOptValue(name: string, type: OptType, text: string): string | boolean | number | bigint {
  switch (type) {
    case "string":
      return text;
    case "bool":
      return parseOptBool(name, text);
    case "number":
      return parseOptNumber(name, text);
    case "size":
      return parseOptSize(name, text);
  }
}

/** The options that are in the table, typed; later ones win; throws "Invalid parameter 'x'" for others. Defaults are filled in. */
export function readOpts<const T extends readonly OptDesc[]>(table: T, opts: readonly Opt[]): OptValues<T> {
  const types = new Map(table.map((desc) => [desc.name, desc.type]));
  const values: Record<string, string | boolean | number | bigint> = {};
  for (const desc of table) if (desc.default !== undefined) values[desc.name] = parseOptValue(desc.name, desc.type, desc.default);
  for (const { name, value } of opts) {
    const type = types.get(name);
    if (type === undefined) throw fail(`Invalid parameter '${name}'`);
    values[name] = parseOptValue(name, type, value);
  }
  return values as OptValues<T>;
}

const TYPE_NAMES: Record<OptType, string> = { string: "str", bool: "bool (on/off)", number: "num", size: "size" };

/** The lines `-o help` prints, sorted by name, without a heading. */
export function describeOpts(table: readonly OptDesc[]): string[] {
  return table
    .map((desc) => {
      const left = `  ${desc.name}=<${TYPE_NAMES[desc.type]}>`;
      return desc.help === undefined ? left : `${left.padEnd(24)} - ${desc.help}`;
    })
    .sort();
}
