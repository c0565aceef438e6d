/** From a JSON value to a command and back to a reply. */
import { BlockError, toBlockError } from "../base/error.js";
import { getMember, isJsonObject, type JsonObject, type JsonValue } from "../qapi/json.js";
import type { BlockCore } from "./block-core.js";

export interface QmpRequest {
  command: string;
  arguments: JsonObject;
  /** Came with `exec-oob`. */
  outOfBand: boolean;
  /** undefined: none was given. */
  id: JsonValue | undefined;
}

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

/** The `id` to echo, of whatever came. */
export function idOf(value: JsonValue): JsonValue | undefined {
  return isJsonObject(value) ? getMember(value, "id") : undefined;
}

/** Checks the outer form of a request. */
export function parseRequest(value: JsonValue, oob: boolean): QmpRequest {
  if (!isJsonObject(value)) throw fail("QMP input must be a JSON object");
  let key: string | null = null;
  let args: JsonObject = {};
  for (const name of Object.keys(value)) {
    const member = getMember(value, name)!;
    if (name === "execute" || (name === "exec-oob" && oob)) {
      if (typeof member !== "string") throw fail(`QMP input member '${name}' must be a string`);
      if (key !== null) throw fail(`QMP input member '${name}' clashes with '${key}'`);
      key = name;
    } else if (name === "arguments") {
      if (!isJsonObject(member)) throw fail("QMP input member 'arguments' must be an object");
      args = member;
    } else if (name !== "id") {
      throw fail(`QMP input member '${name}' is unexpected`);
    }
  }
  if (key === null) throw fail("QMP input lacks member 'execute'");
  return { command: getMember(value, key) as string, arguments: args, outOfBand: key === "exec-oob", id: getMember(value, "id") };
}

export function errorReply(error: unknown, id: JsonValue | undefined): JsonObject {
  const known = toBlockError(error);
  return { ...(id === undefined ? {} : { id }), error: { class: known.qmpClass, desc: known.message } };
}

export function okReply(result: JsonValue, id: JsonValue | undefined): JsonObject {
  return { return: result, ...(id === undefined ? {} : { id }) };
}

/** Runs a request and answers. Never throws. */
export async function dispatch(core: BlockCore, request: QmpRequest): Promise<JsonObject> {
  try {
    if (request.outOfBand && core.commands().find(({ name }) => name === request.command)?.allowOob !== true) {
      if (core.commands().some(({ name }) => name === request.command))
        throw fail(`The command ${request.command} does not support OOB`);
    }
    return okReply(await core.execute(request.command, request.arguments), request.id);
  } catch (error) {
    return errorReply(error, request.id);
  }
}
