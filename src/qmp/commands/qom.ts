/** Looking into objects (`object-add`) by their path, /objects/ID: which there are, what they are, their properties. */
import { BlockError } from "../../base/error.js";
import { any, array, optional, str, struct } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { objectAt, propertiesOf, propertyAt } from "../object-properties.js";

const CONTAINERS: Readonly<Record<string, readonly string[]>> = { "/": ["objects"], "/objects": [] };

export const qomList: Command = command({
  name: "qom-list",
  since: "1.2",
  summary: "The objects below a path, or the properties of the object there.",
  arguments: struct("qom-list-arg", { path: str() }),
  returns: array(struct("ObjectPropertyInfo", { name: str(), type: str(), description: optional(str()) })),
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core, { path }) {
    const containers = Object.hasOwn(CONTAINERS, path) ? CONTAINERS[path] : undefined;
    if (containers === undefined) return propertiesOf(core, objectAt(core, path)).map(({ name, type }) => ({ name, type }));
    return [
      { name: "type", type: "string" },
      ...containers.map((name) => ({ name, type: "child<container>" })),
      ...(path === "/" ? [] : core.objects.all().map(({ id, type }) => ({ name: id, type: `child<${type}>` }))),
    ];
  },
});

export const qomGet: Command = command({
  name: "qom-get",
  since: "1.2",
  summary: "A property of an object.",
  arguments: struct("qom-get-arg", { path: str(), property: str() }),
  returns: any(),
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core, { path, property }) {
    return propertyAt(core, path, property).get();
  },
});

export const qomSet: Command = command({
  name: "qom-set",
  since: "1.2",
  summary: "Changes a property of an object: the limits of a throttle group.",
  arguments: struct("qom-set-arg", { path: str(), property: str(), value: any() }),
  returns: null,
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core, { path, property, value }) {
    const found = propertyAt(core, path, property);
    if (found.set === undefined)
      throw new BlockError("ERR_PERMISSION", `Property '${objectAt(core, path).type}.${property}' is not writable`);
    found.set(value);
  },
});
