/** What can be asked of objects (qom-list, qom-get) and changed (qom-set). */
import { BlockError } from "../base/error.js";
import { limitsBag, mergeLimits } from "../block/throttle.js";
import type { JsonInput } from "../qapi/json-writer.js";
import { isJsonObject, type JsonValue } from "../qapi/json.js";
import { rootPath, type Path } from "../qapi/schema.js";
import type { BlockCore } from "./block-core.js";
import { throttleLimits } from "./commands/object-add.js";
import type { QomObject } from "./object-list.js";

export interface ObjectProperty {
  readonly name: string;
  readonly type: string;
  get(): JsonInput;
  set?(value: JsonValue): void;
}

/** The object at /objects/ID, or of this ID alone. */
export function objectAt(core: BlockCore, path: string): QomObject {
  const id = path.startsWith("/objects/") ? path.slice(9) : path;
  const found = core.objects.find(id);
  if (found === null) throw new BlockError("ERR_NOT_FOUND", `Device '${path}' not found`, { qmpClass: "DeviceNotFound" });
  return found;
}

export function propertyAt(core: BlockCore, path: string, name: string): ObjectProperty {
  const object = objectAt(core, path);
  const found = propertiesOf(core, object).find((property) => property.name === name);
  if (found === undefined)
    throw new BlockError("ERR_NOT_FOUND", `Property '${object.type}.${name}' not found`, { qmpClass: "GenericError" });
  return found;
}

export function propertiesOf(core: BlockCore, object: QomObject): ObjectProperty[] {
  const type: ObjectProperty = { name: "type", type: "string", get: () => object.type };
  switch (object.type) {
    case "throttle-group":
      return [type, ...groupProperties(core, object)];
    case "secret":
      return [type, ...given(object, SECRET)];
    case "iothread":
      return [type, ...given(object, IOTHREAD)];
    default:
      return [
        type,
        ...Object.keys(object.properties).flatMap((name) =>
          name === "qom-type" || name === "id" ? [] : given(object, { [name]: ["string", ""] }),
        ),
      ];
  }
}

type Known = Readonly<Record<string, readonly [type: string, absent: JsonInput]>>;
const SECRET: Known = {
  iv: ["string", ""],
  keyid: ["string", ""],
  loaded: ["bool", true],
  format: ["QCryptoSecretFormat", "raw"],
  file: ["string", ""],
  data: ["string", ""],
};
const IOTHREAD: Known = {
  "thread-pool-min": ["int", 0],
  "aio-max-batch": ["int", 0],
  "thread-pool-max": ["int", 64],
  "poll-max-ns": ["int", 32768],
  "poll-grow": ["int", 0],
  "poll-shrink": ["int", 0],
};

/** As the object was given, or what is taken where it was not. */
function given(object: QomObject, known: Known): ObjectProperty[] {
  return Object.entries(known).map(([name, [type, absent]]) => ({
    name,
    type,
    get: () => (object.properties[name] as JsonInput | undefined) ?? absent,
  }));
}

/** In the order QEMU lists them. */
const GROUP = [
  "x-bps-write-max-length",
  "x-iops-total-max-length",
  "x-iops-size",
  "limits",
  "x-bps-total",
  "x-iops-read-max-length",
  "x-bps-write",
  "x-iops-write-max-length",
  "x-bps-read-max",
  "x-iops-read-max",
  "x-bps-total-max",
  "x-bps-read-max-length",
  "x-iops-read",
  "x-bps-read",
  "x-bps-write-max",
  "x-iops-total-max",
  "x-iops-total",
  "x-iops-write",
  "x-bps-total-max-length",
  "x-iops-write-max",
];

function groupProperties(core: BlockCore, object: QomObject): ObjectProperty[] {
  const group = core.throttleGroups.find(object.id)!;
  return GROUP.map((name): ObjectProperty =>
    name === "limits"
      ? {
          name,
          type: "ThrottleLimits",
          get: () => limitsBag(group.limits),
          set(value) {
            const path: Path = { mode: "json", parent: rootPath(), name };
            if (!isJsonObject(value))
              throw new BlockError("ERR_INVALID_ARGUMENT", "Invalid parameter type for 'limits', expected: object");
            group.limits = mergeLimits(group.limits, throttleLimits.validate(value, path) as Record<string, unknown>);
          },
        }
      : {
          name,
          type: "int",
          get: () => limitsBag(group.limits)[name.slice(2)]!,
          set() {
            throw new BlockError("ERR_PERMISSION", "Property cannot be set after initialization");
          },
        },
  );
}
