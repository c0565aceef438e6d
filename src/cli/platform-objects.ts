/** `--object tls-creds-x509,id=…` and its like: what the platform makes, by id. */
import { BlockError } from "../base/error.js";
import { takeString } from "../block/take.js";
import { makePlatformObject, PLATFORM_OBJECTS } from "../nbd/node-objects.js";
import { unflatten } from "../qapi/options.js";
import { objectOptions } from "./secrets.js";

export function readPlatformObjects(objects: readonly string[], secrets: ReadonlyMap<string, Uint8Array>): Map<string, unknown> {
  // A secret is an object too: whoever wants credentials is told that it is none.
  const made = new Map<string, unknown>(secrets);
  for (const text of objects) {
    const bag: Record<string, unknown> = { ...unflatten(objectOptions(text)) };
    const type = takeString(bag, "qom-type") ?? "";
    if (!PLATFORM_OBJECTS.includes(type)) continue;
    const id = takeString(bag, "id");
    if (id === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'id' is missing");
    if (made.has(id))
      throw new BlockError("ERR_EXISTS", `attempt to add duplicate property '${id}' to object (type 'container')`);
    made.set(
      id,
      makePlatformObject(type, bag, (name) => secrets.get(name) ?? null),
    );
  }
  return made;
}
