/** What a QMP command is: one declaration with its types, its documentation and its implementation. */
import type { Op } from "../block/op.js";
import type { JsonInput } from "../qapi/json-writer.js";
import type { JsonObject } from "../qapi/json.js";
import type { AnySchema, Infer, StructType, UnionType } from "../qapi/schema.js";
import type { BlockCore } from "./block-core.js";

/** What commands act on, for those in folders of their own. */
export type { BlockCore };

export type Profile = "qemu-2.2" | "qemu-7.2";

/** What a command may return: JSON, members that are undefined left out; nothing means `{}`. */
export type Reply = JsonInput | object | void;

export interface Command {
  readonly name: string;
  /** QEMU version that introduced it. */
  readonly since: string;
  /** One sentence for docs/QMP.md. */
  readonly summary: string;
  readonly arguments: AnySchema | null;
  /** Shape of the arguments in the 2.2 profile, where it differs. */
  readonly arguments22?: AnySchema | null;
  readonly returns: AnySchema | null;
  /** May be run out of band. */
  readonly allowOob?: boolean;
  /** Profiles that know the command; both when absent. */
  readonly profiles?: readonly Profile[];
  readonly run: (core: BlockCore, args: JsonObject) => Op<Reply>;
}

// oxlint-disable-next-line typescript/no-explicit-any
type Arguments = StructType<any> | UnionType<any>;

interface Declaration<S extends Arguments | null> extends Omit<Command, "run" | "arguments"> {
  readonly arguments: S;
  readonly run: (core: BlockCore, args: S extends Arguments ? Infer<S> : Record<string, never>) => Op<Reply>;
}

export function command<S extends Arguments | null>(declaration: Declaration<S>): Command {
  return declaration as unknown as Command;
}
