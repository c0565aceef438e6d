/** src/qmp/types.ts, made from the declarations: what each command takes and returns, in both dialects, and what events say. */
import { resolve, type AnySchema, type Member, type Members } from "../../src/qapi/schema.js";
import { commandsOf } from "../../src/qmp/commands.js";
import type { Profile } from "../../src/qmp/command.js";
import { EVENTS } from "../../src/qmp/schema/events.js";

const HEAD = `/**
 * What QMP's commands take and return, and what its events say, as types: for \`BlockCore\` of the package.
 *
 * Made from the declarations by test/unit/qmp/types.test.ts (UPDATE_DOCS=1), which also holds it to them.
 */

/** An object without members. */
export type Nothing = { readonly [name: string]: never };
`;

const quoted = (name: string): string => (/^[A-Za-z_]\w*$/.test(name) ? name : JSON.stringify(name));

class Writer {
  readonly #texts = new Map<string, string>();
  readonly #names = new Map<AnySchema, string>();

  /** The type as an expression; structs, unions and long enums become declarations with names. */
  type(schema: AnySchema): string {
    switch (schema.kind) {
      case "str":
        return "string";
      case "bool":
        return "boolean";
      case "number":
      case "int":
        return "number";
      case "null":
        return "null";
      case "any":
        return "unknown";
      case "array": {
        const element = this.type(schema.element);
        return /[ |]/.test(element) ? `readonly (${element})[]` : `readonly ${element}[]`;
      }
      case "enum":
        return this.#named(
          schema,
          schema.name,
          (name) => `export type ${name} = ${schema.values.map((value) => JSON.stringify(value)).join(" | ")};`,
        );
      case "struct":
        return this.#named(schema, schema.name, (name) => `export interface ${name} ${this.#members(schema.members)}`);
      case "union":
        return this.#named(schema, schema.name, (name) => this.#union(name, schema));
      case "alternate":
        return this.#named(
          schema,
          schema.name,
          (name) =>
            `export type ${name} = ${Object.values(schema.branches)
              .map((branch) => this.type(branch))
              .join(" | ")};`,
        );
    }
  }

  #union(name: string, schema: AnySchema & { kind: "union" }): string {
    const { base, discriminator, variants } = schema;
    const which = resolve(base[discriminator]!);
    const values = which.kind === "enum" ? which.values : [];
    const common = Object.fromEntries(Object.entries(base).filter(([member]) => member !== discriminator));
    // Values without members of their own share one line.
    const plain = values.filter((value) => Object.keys(variants[value]?.members ?? {}).length === 0);
    const lines = values
      .filter((value) => !plain.includes(value))
      .map((value) => `  | ({ ${quoted(discriminator)}: ${JSON.stringify(value)} } & ${this.type(variants[value]!)})`);
    if (plain.length > 0)
      lines.push(`  | { ${quoted(discriminator)}: ${plain.map((value) => JSON.stringify(value)).join(" | ")} }`);
    const cases = `(\n${lines.join("\n")}\n)`;
    return Object.keys(common).length === 0
      ? `export type ${name} = ${cases};`
      : `export type ${name} = ${this.#members(common)} & ${cases};`;
  }

  #members(members: Members): string {
    const lines = Object.entries(members).map(([name, member]: [string, Member]) => {
      const type = this.type(resolve(member));
      const orNothing = type === "unknown" ? type : `${type} | undefined`;
      return member.kind === "optional" ? `  ${quoted(name)}?: ${orNothing};` : `  ${quoted(name)}: ${type};`;
    });
    return lines.length === 0 ? "{ readonly [name: string]: never }" : `{\n${lines.join("\n")}\n}`;
  }

  #named(schema: AnySchema, given: string, make: (name: string) => string): string {
    const known = this.#names.get(schema);
    if (known !== undefined) return known;
    const base = given
      .split(/[^A-Za-z0-9]+/)
      .map((part) => part.charAt(0).toUpperCase() + part.slice(1))
      .join("");
    // Known before it is written: types may hold themselves.
    for (let n = 1; ; n++) {
      const name = n === 1 ? base : `${base}${n}`;
      const there = this.#texts.get(name);
      if (there === undefined) {
        this.#names.set(schema, name);
        this.#texts.set(name, "");
        this.#texts.set(name, make(name));
        return name;
      }
      // Declared twice with the same content, it is one type.
      this.#names.set(schema, name);
      if (there !== "" && make(name) === there) return name;
      this.#names.delete(schema);
    }
  }

  commands(profile: Profile, name: string): string {
    const sorted = [...commandsOf(profile)].sort((a, b) => (a.name < b.name ? -1 : 1));
    const lines = sorted.map((each) => {
      const taken = profile === "qemu-2.2" && each.arguments22 !== undefined ? each.arguments22 : each.arguments;
      const given = taken === null ? "Nothing" : this.type(taken);
      const returned = each.returns === null ? "Nothing" : this.type(each.returns);
      return `  /** ${each.summary} */\n  ${quoted(each.name)}: { arguments: ${given}; returns: ${returned} };`;
    });
    return `export interface ${name} {\n${lines.join("\n")}\n}`;
  }

  events(): string {
    const lines = EVENTS.map(
      ({ name, summary, data }) => `  /** ${summary} */\n  ${quoted(name)}: ${data === null ? "Nothing" : this.type(data)};`,
    );
    return `export interface Events {\n${lines.join("\n")}\n}`;
  }

  get declarations(): string[] {
    return [...this.#texts.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text);
  }
}

export function qmpTypes(): string {
  const writer = new Writer();
  const maps = [writer.commands("qemu-7.2", "Commands72"), writer.commands("qemu-2.2", "Commands22"), writer.events()];
  return `${HEAD}\n${[...maps, ...writer.declarations].join("\n\n")}\n`;
}
