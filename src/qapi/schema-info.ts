/**
 * What `query-qmp-schema` answers, made from the schema values: an array of SchemaInfo in which types are numbered (names of
 * types are not API) and every type appears once.
 */
import type { JsonObject } from "./json.js";
import { resolve, type AnySchema, type Members, type Notes, type StructType } from "./schema.js";

export interface CommandShape {
  name: string;
  arguments: StructType | AnySchema | null;
  returns: AnySchema | null;
  allowOob?: boolean;
  features?: readonly string[];
}
export interface EventShape {
  name: string;
  data: AnySchema | null;
  features?: readonly string[];
}

const features = (notes: Notes | undefined): JsonObject => {
  const list = [...(notes?.features ?? [])];
  if (notes?.deprecated !== undefined && !list.includes("deprecated")) list.push("deprecated");
  return list.length > 0 ? { features: list } : {};
};

/** Introspection data for these commands and events and everything they use. */
export function describeSchema(commands: readonly CommandShape[], events: readonly EventShape[]): JsonObject[] {
  const infos: JsonObject[] = [];
  const names = new Map<AnySchema | string, string>();
  let next = 0;

  const number = (key: AnySchema | string): string => {
    const name = String(next++);
    names.set(key, name);
    return name;
  };
  const builtin = (name: string, json: string): string => {
    if (!names.has(name)) {
      names.set(name, name);
      infos.push({ name, "meta-type": "builtin", "json-type": json });
    }
    return name;
  };
  const members = (list: Members, notes: Readonly<Partial<Record<string, Notes>>>): JsonObject[] =>
    Object.entries(list).map(([name, member]) => ({
      name,
      ...(member.kind === "optional" ? { default: null } : {}),
      type: reference(resolve(member)),
      ...features(notes[name]),
    }));
  const object = (type: AnySchema | string, build: () => JsonObject): string => {
    const known = names.get(type);
    if (known !== undefined) return known;
    const name = number(type);
    const info: JsonObject = { name };
    infos.push(info);
    Object.assign(info, build());
    return name;
  };
  const empty = (): string => object("(empty)", () => ({ "meta-type": "object", members: [] }));

  const reference = (type: AnySchema): string => {
    switch (type.kind) {
      case "str":
        return builtin("str", "string");
      case "bool":
        return builtin("bool", "boolean");
      case "number":
        return builtin("number", "number");
      case "null":
        return builtin("null", "null");
      case "any":
        return builtin("any", "value");
      case "int":
        return builtin("int", "int");
      case "enum":
        return object(type, () => ({
          "meta-type": "enum",
          members: type.values.map((name) => ({ name, ...features(type.valueNotes[name]) })),
          values: [...type.values],
          ...features(type),
        }));
      case "array": {
        const element = reference(type.element);
        const name = `[${element}]`;
        if (!names.has(name)) {
          names.set(name, name);
          infos.push({ name, "meta-type": "array", "element-type": element });
        }
        return name;
      }
      case "struct":
        return object(type, () => ({
          "meta-type": "object",
          members: members(type.members, type.memberNotes),
          ...features(type),
        }));
      case "union":
        return object(type, () => {
          const tag = resolve(type.base[type.discriminator]!);
          const cases = tag.kind === "enum" ? tag.values : Object.keys(type.variants);
          return {
            "meta-type": "object",
            members: members(type.base, type.memberNotes),
            tag: type.discriminator,
            variants: cases.map((name) => {
              const variant = Object.hasOwn(type.variants, name) ? type.variants[name] : undefined;
              return { case: name, type: variant === undefined ? empty() : reference(variant) };
            }),
            ...features(type),
          };
        });
      case "alternate":
        return object(type, () => ({
          "meta-type": "alternate",
          members: Object.values(type.branches).map((branch) => ({ type: reference(branch) })),
          ...features(type),
        }));
    }
  };

  for (const command of commands) {
    const info: JsonObject = { name: command.name, "meta-type": "command" };
    infos.push(info);
    info["arg-type"] = command.arguments === null ? empty() : reference(command.arguments);
    info["ret-type"] = command.returns === null ? empty() : reference(command.returns);
    if (command.allowOob === true) info["allow-oob"] = true;
    Object.assign(info, features({ features: command.features ?? [] }));
  }
  for (const event of events) {
    const info: JsonObject = { name: event.name, "meta-type": "event" };
    infos.push(info);
    info["arg-type"] = event.data === null ? empty() : reference(event.data);
    Object.assign(info, features({ features: event.features ?? [] }));
  }
  return infos;
}
