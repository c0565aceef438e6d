/** `--object throttle-group,id=…,x-iops-total=…`: groups for the throttle filter. */
import { BlockError } from "../base/error.js";
import { takeString } from "../block/take.js";
import { takeLimits } from "../block/throttle.js";
import { ThrottleGroup } from "../block/throttle-group.js";
import { unflatten } from "../qapi/options.js";
import { objectOptions } from "./secrets.js";

/** The throttle groups among the objects, by id. */
export function readThrottleGroups(objects: readonly string[]): Map<string, ThrottleGroup> {
  const groups = new Map<string, ThrottleGroup>();
  for (const text of objects) {
    const bag: Record<string, unknown> = { ...unflatten(objectOptions(text)) };
    if (takeString(bag, "qom-type") !== "throttle-group") continue;
    const id = takeString(bag, "id");
    if (id === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'id' is missing");
    if (groups.has(id))
      throw new BlockError("ERR_EXISTS", `attempt to add duplicate property '${id}' to object (type 'container')`);
    const limits = takeLimits(bag);
    for (const name of Object.keys(bag)) throw new BlockError("ERR_INVALID_ARGUMENT", `Parameter '${name}' is unexpected`);
    groups.set(id, new ThrottleGroup(id, limits));
  }
  return groups;
}
