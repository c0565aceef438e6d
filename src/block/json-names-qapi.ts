/** `json:` names as QEMU reads and writes them. */
import { writeJson } from "../qapi/json-writer.js";
import { parseJsonFilename, unflatten } from "../qapi/options.js";
import type { BlockdevOptions } from "./context.js";
import type { JsonNames } from "./json-names.js";

export const jsonNames: JsonNames = {
  read: (filename) => unflatten(parseJsonFilename(filename)) as BlockdevOptions,
  write: writeJson,
};
