/**
 * The QAPI schema as TypeScript values.
 *
 * One declaration gives the static type (`Infer`), the check of untrusted input with QEMU's error wording, and what
 * `query-qmp-schema` needs (see schema-info.ts). Input comes in two forms, as in QEMU: JSON, where every value must have its
 * type, and "keyval" (command lines), where every leaf is a string and is converted ("on", "64k").
 */
import { BlockError } from "../base/error.js";
import { parseInteger, parseSize64 } from "../base/size.js";
import { getMember, isJsonObject, setMember, type JsonObject, type JsonValue } from "./json.js";

export type InputMode = "json" | "keyval";

/** Where in the input a value stands: for messages only. */
export interface Path {
  readonly mode: InputMode;
  readonly parent: Path | null;
  /** Member name, list index, or null at the root. */
  readonly name: string | number | null;
}

export interface Notes {
  /** QEMU version that introduced it ("2.9"; "blockcore" for our own). */
  since?: string;
  /** Feature flags as introspection shows them: "deprecated", "unstable", … */
  features?: readonly string[];
  /** Why and what to use instead, for a warning. */
  deprecated?: string;
}

interface Base<T> extends Notes {
  /** Only for inference; never present. */
  readonly __type?: T;
  validate(value: JsonValue, path?: Path): T;
}

export type IntName = "int" | "int8" | "int16" | "int32" | "int64" | "uint16" | "uint32" | "uint64" | "size";

export interface StrType extends Base<string> {
  readonly kind: "str";
}
export interface BoolType extends Base<boolean> {
  readonly kind: "bool";
}
export interface NumberType extends Base<number> {
  readonly kind: "number";
}
export interface NullType extends Base<null> {
  readonly kind: "null";
}
export interface AnyType extends Base<JsonValue> {
  readonly kind: "any";
}
/** Values are numbers when safe integers; 64-bit kinds give a bigint beyond. */
export interface IntType<T extends number | bigint = number | bigint> extends Base<T> {
  readonly kind: "int";
  readonly name: IntName;
  readonly min: bigint;
  readonly max: bigint;
}
export interface EnumType<V extends string = string> extends Base<V> {
  readonly kind: "enum";
  readonly name: string;
  readonly values: readonly V[];
  readonly valueNotes: Readonly<Partial<Record<string, Notes>>>;
}
export interface ArrayType<T = unknown> extends Base<T[]> {
  readonly kind: "array";
  readonly element: AnySchema;
}
export interface OptionalType<T = unknown> {
  readonly kind: "optional";
  readonly inner: AnySchema;
  readonly __type?: T;
}
export interface StructType<T = unknown> extends Base<T> {
  readonly kind: "struct";
  readonly name: string;
  readonly members: Members;
  readonly memberNotes: Readonly<Partial<Record<string, Notes>>>;
}
export interface UnionType<T = unknown> extends Base<T> {
  readonly kind: "union";
  readonly name: string;
  readonly base: Members;
  readonly discriminator: string;
  readonly variants: Readonly<Record<string, StructType>>;
  readonly memberNotes: Readonly<Partial<Record<string, Notes>>>;
}
export interface AlternateType<T = unknown> extends Base<T> {
  readonly kind: "alternate";
  readonly name: string;
  readonly branches: Readonly<Record<string, AnySchema>>;
}

export type AnySchema =
  | StrType
  | BoolType
  | NumberType
  | NullType
  | AnyType
  | IntType<number>
  | IntType
  | EnumType<string>
  | ArrayType
  | StructType
  | UnionType
  | AlternateType;
/** `lazy(() => t)` members break cycles between declarations. */
export type Member = AnySchema | OptionalType | Lazy;
export type Members = Readonly<Record<string, Member>>;
export interface Lazy<T = unknown> {
  readonly kind: "lazy";
  readonly resolve: () => AnySchema;
  readonly __type?: T;
}

/** The TypeScript type of values that passed `schema.validate`. */
export type Infer<S> = S extends { readonly __type?: infer T } ? Exclude<T, undefined> : never;

type OptionalKeys<M> = { [K in keyof M]: M[K] extends { kind: "optional" } ? K : never }[keyof M];
type InferMembers<M> = { [K in Exclude<keyof M, OptionalKeys<M>>]: Infer<M[K]> } & { [K in OptionalKeys<M>]?: Infer<M[K]> };
type Flat<T> = { [K in keyof T]: T[K] } & {};
type InferUnion<B, D extends string, V> = {
  [K in keyof V]: Flat<Omit<InferMembers<B>, D> & { [P in D]: K } & Infer<V[K]>>;
}[keyof V];

const ROOT: Readonly<Record<InputMode, Path>> = {
  json: { mode: "json", parent: null, name: null },
  keyval: { mode: "keyval", parent: null, name: null },
};

/** The root of a piece of input. */
export function rootPath(mode: InputMode = "json"): Path {
  return ROOT[mode];
}

/** "inject-error[0].state" (JSON) or "inject-error.0.state" (keyval). */
function fullName(path: Path): string {
  let text = "";
  for (let at: Path | null = path; at !== null && at.name !== null; at = at.parent) {
    if (typeof at.name === "number") text = (at.mode === "keyval" ? `.${at.name}` : `[${at.name}]`) + text;
    else text = `.${at.name}${text}`;
  }
  if (text.startsWith(".")) return text.slice(1);
  return text === "" ? "<anonymous>" : text;
}

/** QEMU names only the member itself in some messages; elements of lists have no name there. */
const shortName = (path: Path): string => (typeof path.name === "string" ? path.name : "null");

const child = (path: Path, name: string | number): Path => ({ mode: path.mode, parent: path, name });

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);
const wrongType = (name: string, expected: string): BlockError =>
  fail(`Invalid parameter type for '${name}', expected: ${expected}`);
const wrongValue = (name: string, expected: string): BlockError => fail(`Parameter '${name}' expects ${expected}`);

/** The string of a keyval leaf. */
function leaf(value: JsonValue, path: Path): string {
  if (typeof value === "string") return value;
  if (typeof value === "object" && value !== null) throw fail(`Parameters '${fullName(path)}.*' are unexpected`);
  throw fail(`Internal error: parameter ${fullName(path)} invalid`);
}

/** "on", "yes", "true", "y" and their opposites; undefined for anything else. */
export function parseBool(text: string): boolean | undefined {
  if (text === "on" || text === "yes" || text === "true" || text === "y") return true;
  if (text === "off" || text === "no" || text === "false" || text === "n") return false;
  return undefined;
}

export function str(notes: Notes = {}): StrType {
  return {
    kind: "str",
    ...notes,
    validate(value, path = ROOT.json) {
      if (path.mode === "keyval") return leaf(value, path);
      if (typeof value !== "string") throw wrongType(fullName(path), "string");
      return value;
    },
  };
}

export function bool(notes: Notes = {}): BoolType {
  return {
    kind: "bool",
    ...notes,
    validate(value, path = ROOT.json) {
      if (path.mode === "keyval") {
        const result = parseBool(leaf(value, path));
        if (result === undefined) throw wrongValue(fullName(path), "'on' or 'off'");
        return result;
      }
      if (typeof value !== "boolean") throw wrongType(fullName(path), "boolean");
      return value;
    },
  };
}

/** A floating-point number; integers are welcome. */
export function number(notes: Notes = {}): NumberType {
  return {
    kind: "number",
    ...notes,
    validate(value, path = ROOT.json) {
      if (path.mode === "keyval") {
        const text = leaf(value, path);
        const result = /^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text) ? Number(text) : NaN;
        if (!Number.isFinite(result)) throw wrongType(fullName(path), "number");
        return result;
      }
      if (typeof value !== "number" && typeof value !== "bigint") throw wrongType(fullName(path), "number");
      return Number(value);
    },
  };
}

export function nul(notes: Notes = {}): NullType {
  return {
    kind: "null",
    ...notes,
    validate(value, path = ROOT.json) {
      if (value !== null) throw wrongType(fullName(path), "null");
      return null;
    },
  };
}

/** Anything; given back as it came. */
export function any(notes: Notes = {}): AnyType {
  return { kind: "any", ...notes, validate: (value) => value };
}

const TWO64 = 2n ** 64n;
const narrow = (value: bigint): number | bigint =>
  BigInt.asIntN(54, value) === value && value !== -(2n ** 53n) ? Number(value) : value;

function int(name: IntName, min: bigint, max: bigint, notes: Notes): IntType {
  const signed = min < 0n;
  const small = name !== "int" && name !== "int64" && name !== "uint64" && name !== "size";
  const read = (value: JsonValue, path: Path): bigint => {
    if (path.mode === "keyval") {
      const text = leaf(value, path);
      if (name === "size") {
        const size = parseSize64(text);
        if (size.status !== "ok") throw wrongValue(fullName(path), "size");
        return size.value;
      }
      const parsed = parseInteger(text);
      if (typeof parsed !== "bigint" || (signed && BigInt.asIntN(64, parsed) !== parsed))
        throw wrongValue(fullName(path), "integer");
      return signed ? parsed : BigInt.asUintN(64, parsed);
    }
    const integer = typeof value === "bigint" ? value : Number.isSafeInteger(value) ? BigInt(value as number) : undefined;
    if (signed) {
      if (integer === undefined || BigInt.asIntN(64, integer) !== integer) throw wrongType(fullName(path), "integer");
      return integer;
    }
    if (integer === undefined || integer >= TWO64 || integer < -(TWO64 / 2n)) throw wrongValue(fullName(path), "uint64");
    // Like QEMU, take negative numbers for their two's complement; what is out of place then fails as too large.
    return BigInt.asUintN(64, integer);
  };
  return {
    kind: "int",
    name,
    min,
    max,
    ...notes,
    validate(value, path = ROOT.json) {
      const result = read(value, path);
      if (small && (result < min || result > max)) throw wrongValue(shortName(path), `${name}_t`);
      return narrow(result);
    },
  };
}

const signedInt = (name: IntName, bits: bigint, notes: Notes): IntType =>
  int(name, -(2n ** (bits - 1n)), 2n ** (bits - 1n) - 1n, notes);
const unsignedInt = (name: IntName, bits: bigint, notes: Notes): IntType => int(name, 0n, 2n ** bits - 1n, notes);

/** QAPI "int": 64-bit signed. Beyond 2^53 the value is a bigint, never rounded. */
export function int64(notes: Notes = {}): IntType {
  return signedInt("int", 64n, notes);
}
export function uint64(notes: Notes = {}): IntType {
  return unsignedInt("uint64", 64n, notes);
}
/** 64-bit unsigned; "64k" and the like in keyval input. */
export function size(notes: Notes = {}): IntType {
  return unsignedInt("size", 64n, notes);
}
export function int8(notes: Notes = {}): IntType<number> {
  return signedInt("int8", 8n, notes) as IntType<number>;
}
export function int16(notes: Notes = {}): IntType<number> {
  return signedInt("int16", 16n, notes) as IntType<number>;
}
export function int32(notes: Notes = {}): IntType<number> {
  return signedInt("int32", 32n, notes) as IntType<number>;
}
export function uint16(notes: Notes = {}): IntType<number> {
  return unsignedInt("uint16", 16n, notes) as IntType<number>;
}
export function uint32(notes: Notes = {}): IntType<number> {
  return unsignedInt("uint32", 32n, notes) as IntType<number>;
}

/** An integer that passed validation as a safe number of bytes or items; ERR_OUT_OF_RANGE beyond 2^53-1. */
export function toSafeNumber(value: number | bigint, name: string): number {
  if (typeof value === "number") return value;
  throw new BlockError("ERR_OUT_OF_RANGE", `Parameter '${name}' expects a value below 2^53`, { errno: "EFBIG" });
}

export function enumeration<const V extends string>(
  name: string,
  values: readonly V[],
  notes: Notes & { valueNotes?: Readonly<Partial<Record<V, Notes>>> } = {},
): EnumType<V> {
  const known = new Set<string>(values);
  const { valueNotes = {}, ...rest } = notes;
  const string = str();
  return {
    kind: "enum",
    name,
    values,
    valueNotes: valueNotes as Readonly<Partial<Record<string, Notes>>>,
    ...rest,
    validate(value, path = ROOT.json) {
      const text = string.validate(value, path);
      if (!known.has(text)) throw fail(`Parameter '${shortName(path)}' does not accept value '${text}'`);
      return text as V;
    },
  };
}

export function array<S extends AnySchema | Lazy>(element: S, notes: Notes = {}): ArrayType<Infer<S>> {
  return {
    kind: "array",
    get element() {
      return resolve(element);
    },
    ...notes,
    validate(value, path = ROOT.json) {
      if (!Array.isArray(value)) throw wrongType(fullName(path), "array");
      const type = resolve(element);
      return value.map((item, index) => type.validate(item, child(path, index))) as Infer<S>[];
    },
  };
}

export function optional<S extends AnySchema | Lazy>(inner: S): OptionalType<Infer<S>> {
  return {
    kind: "optional",
    get inner() {
      return resolve(inner);
    },
  };
}

/**
 * A type declared later, or the type itself (BlockdevOptions inside BlockdevOptions). TypeScript can not infer through a
 * circle, so say what the values look like: `lazy<BlockdevOptions>((): AnySchema => blockdevOptions)`.
 */
export function lazy<T = unknown>(resolve: () => AnySchema): Lazy<T> {
  return { kind: "lazy", resolve };
}

/** The schema behind a member, without `lazy` and `optional`. */
export function resolve(member: Member): AnySchema {
  if (member.kind === "lazy") return member.resolve();
  return member.kind === "optional" ? member.inner : member;
}

/** Takes the members off `input` in schema order; what is taken is struck from `left`. */
function takeMembers(members: Members, input: JsonObject, left: Set<string>, path: Path, into: JsonObject): void {
  for (const name of Object.keys(members)) {
    const member = members[name]!;
    const value = getMember(input, name);
    if (value === undefined) {
      if (member.kind === "optional") continue;
      throw fail(`Parameter '${fullName(child(path, name))}' is missing`);
    }
    left.delete(name);
    setMember(into, name, resolve(member).validate(value, child(path, name)) as JsonValue);
  }
}

function openObject(value: JsonValue, path: Path): { input: JsonObject; left: Set<string> } {
  if (!isJsonObject(value)) throw wrongType(fullName(path), "object");
  return { input: value, left: new Set(Object.keys(value)) };
}

function noneLeft(left: Set<string>, path: Path): void {
  for (const name of left) throw fail(`Parameter '${fullName(child(path, name))}' is unexpected`);
}

type StructNotes = Notes & { memberNotes?: Readonly<Partial<Record<string, Notes>>> };

export function struct<const M extends Members>(
  name: string,
  members: M,
  notes: StructNotes = {},
): StructType<Flat<InferMembers<M>>> {
  const { memberNotes = {}, ...rest } = notes;
  return {
    kind: "struct",
    name,
    members,
    memberNotes,
    ...rest,
    validate(value, path = ROOT.json) {
      const { input, left } = openObject(value, path);
      const result: JsonObject = {};
      takeMembers(members, input, left, path, result);
      noneLeft(left, path);
      return result as Flat<InferMembers<M>>;
    },
  };
}

/** Members of a struct followed by more: QAPI's 'base'. */
export function extend<B extends StructType, const M extends Members>(
  name: string,
  base: B,
  members: M,
  notes: StructNotes = {},
): StructType<Flat<Infer<B> & InferMembers<M>>> {
  const all = struct(
    name,
    { ...base.members, ...members },
    { ...notes, memberNotes: { ...base.memberNotes, ...notes.memberNotes } },
  );
  return all as unknown as StructType<Flat<Infer<B> & InferMembers<M>>>;
}

/**
 * A flat union: the common members `base`, one of which (`discriminator`, an enum) selects the struct whose members follow.
 * Enum values without a variant have no further members.
 */
export function union<
  const B extends Members,
  const D extends keyof B & string,
  // oxlint-disable-next-line typescript/no-explicit-any -- variants differ in their members
  const V extends Readonly<Record<string, StructType<any>>>,
>(name: string, base: B, discriminator: D, variants: V, notes: StructNotes = {}): UnionType<InferUnion<B, D, V>> {
  const { memberNotes = {}, ...rest } = notes;
  return {
    kind: "union",
    name,
    base,
    discriminator,
    variants,
    memberNotes,
    ...rest,
    validate(value, path = ROOT.json) {
      const { input, left } = openObject(value, path);
      const result: JsonObject = {};
      takeMembers(base, input, left, path, result);
      const which = getMember(result, discriminator);
      const variant = typeof which === "string" && Object.hasOwn(variants, which) ? variants[which] : undefined;
      if (variant !== undefined) takeMembers(variant.members, input, left, path, result);
      noneLeft(left, path);
      return result as unknown as InferUnion<B, D, V>;
    },
  };
}

type JsonKind = "string" | "number" | "boolean" | "null" | "object" | "array";

const jsonKind = (value: JsonValue): JsonKind => {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return typeof value === "bigint" ? "number" : (typeof value as JsonKind);
};

function acceptedKind(type: AnySchema): JsonKind | null {
  switch (type.kind) {
    case "str":
    case "enum":
      return "string";
    case "int":
    case "number":
      return "number";
    case "bool":
      return "boolean";
    case "null":
      return "null";
    case "struct":
    case "union":
      return "object";
    case "array":
      return "array";
    default:
      return null;
  }
}

/** One of several types told apart by their JSON type ("BlockdevRef": a node name or a definition). */
export function alternate<const A extends Readonly<Record<string, AnySchema | Lazy>>>(
  name: string,
  branches: A,
  notes: Notes = {},
): AlternateType<{ [K in keyof A]: Infer<A[K]> }[keyof A]> {
  return {
    kind: "alternate",
    name,
    get branches() {
      return Object.fromEntries(Object.entries(branches).map(([key, type]) => [key, resolve(type)]));
    },
    ...notes,
    validate(value, path = ROOT.json) {
      const kind = jsonKind(value);
      for (const key of Object.keys(branches)) {
        const type = resolve(branches[key]!);
        if (acceptedKind(type) === kind) return type.validate(value, path) as { [K in keyof A]: Infer<A[K]> }[keyof A];
      }
      throw wrongType(shortName(path), name);
    },
  };
}
