/** Taking options out of a bag: each is removed as it is read, so that what is left at the end is what nobody knows. */
import { BlockError } from "../base/error.js";
import { parseSize64 } from "../base/size.js";

type Bag = Record<string, unknown>;

function wrongType(name: string, expected: string): BlockError {
  return new BlockError("ERR_INVALID_ARGUMENT", `Invalid parameter type for '${name}', expected: ${expected}`);
}

export function take(bag: Bag, name: string): unknown {
  const value = bag[name];
  delete bag[name];
  return value;
}

export function takeString(bag: Bag, name: string): string | undefined {
  const value = take(bag, name);
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  throw wrongType(name, "string");
}

export function takeBool(bag: Bag, name: string): boolean | undefined {
  const value = take(bag, name);
  if (value === undefined || value === null) return undefined;
  if (typeof value === "boolean") return value;
  if (value === "on" || value === "yes" || value === "true" || value === "y") return true;
  if (value === "off" || value === "no" || value === "false" || value === "n") return false;
  throw new BlockError("ERR_INVALID_ARGUMENT", `Parameter '${name}' expects 'on' or 'off'`);
}

/** A number of bytes or a plain number, as a JSON number or as text with a size suffix. */
export function takeSize(bag: Bag, name: string): number | undefined {
  const value = take(bag, name);
  if (value === undefined || value === null) return undefined;
  const number = typeof value === "string" ? sizeOf(value) : typeof value === "bigint" ? Number(value) : value;
  if (typeof number === "number" && Number.isSafeInteger(number) && number >= 0) return number;
  throw new BlockError("ERR_INVALID_ARGUMENT", `Parameter '${name}' expects a non-negative number below 2^53`, {
    hint: "You may use k, M, G, T, P or E suffixes for kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.",
  });
}

function sizeOf(text: string): number | null {
  const size = parseSize64(text);
  return size.status === "ok" ? Number(size.value) : null;
}

function oneOf<T extends string>(
  bag: Bag,
  name: string,
  values: readonly T[],
  refusal: (value: string) => string,
): T | undefined {
  const value = take(bag, name);
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string" && (values as readonly string[]).includes(value)) return value as T;
  throw new BlockError("ERR_INVALID_ARGUMENT", refusal(String(value)));
}

export const takeEnum = <T extends string>(bag: Bag, name: string, values: readonly T[]): T | undefined =>
  oneOf(bag, name, values, (value) => `Parameter '${name}' does not accept value '${value}'`);

/** As `takeEnum`, for options which QEMU reads without its schema: it words the refusal otherwise. */
export const takeChoice = <T extends string>(bag: Bag, name: string, values: readonly T[]): T | undefined =>
  oneOf(bag, name, values, (value) => `invalid parameter value: ${value}`);
