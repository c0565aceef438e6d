/** Plugging and unplugging guest devices while the machine runs, and what is asked of them by their place in the machine. */
import { BlockError } from "../../../src/base/error.js";
import type { JsonObject } from "../../../src/qapi/json.js";
import { optsToObject, parseOpts } from "../../../src/qapi/options.js";
import { any, str, struct } from "../../../src/qapi/schema.js";
import { command, type Command } from "../../../src/qmp/command.js";
import { qomGet, qomSet } from "../../../src/qmp/commands/qom.js";
import { text, word, type HmpCommand } from "../../../src/qmp/hmp/command.js";
import type { GuestDevices } from "./devices.js";

/** `devices`: asked for when a command runs. */
export function deviceCommands(devices: () => GuestDevices): Command[] {
  return [
    {
      name: "device_add",
      since: "0.13",
      summary: "Plugs a guest device in.",
      // What else there is depends on the device.
      arguments: any(),
      returns: null,
      *run(_core, args) {
        yield* devices().add(args);
      },
    },
    command({
      name: "device_del",
      since: "0.14",
      summary: "Unplugs a guest device.",
      arguments: struct("device_del-arg", { id: str() }),
      returns: null,
      *run(_core, { id }) {
        yield* devices().remove(id);
      },
    }),
    command({
      name: "system_reset",
      since: "0.14",
      summary: "Resets the machine.",
      arguments: null,
      returns: null,
      *run(core) {
        core.emit("RESET", { guest: false, reason: "host-qmp-system-reset" });
        yield* devices().reset();
      },
    }),
    {
      ...qomSet,
      *run(core, args) {
        const { path, property, value } = args as { path: string; property: string; value: unknown };
        if (!isDevicePath(path)) return yield* qomSet.run(core, args);
        if (property !== "drive") throw new BlockError("ERR_PERMISSION", `Property '${property}' cannot be set after realize`);
        if (typeof value !== "string")
          throw new BlockError("ERR_INVALID_ARGUMENT", "Invalid parameter type for 'drive', expected: string");
        yield* devices().setDrive(path, value);
        return undefined;
      },
    },
    {
      ...qomGet,
      *run(core, args) {
        const { path, property } = args as { path: string; property: string };
        return isDevicePath(path) && property === "drive" ? devices().driveNameOf(path) : yield* qomGet.run(core, args);
      },
    },
  ];
}

const isDevicePath = (path: string): boolean => path.startsWith("/machine/");

export const humanDeviceCommands: readonly HmpCommand[] = [
  {
    name: "device_add",
    parameters: [{ name: "device", type: "rest" }],
    usage: "driver[,prop=value][,...]",
    summary: "add device, like -device on the command line",
    *run(core, _out, args) {
      yield* core.perform("device_add", optsToObject(parseOpts(text(args, "device"), "driver")) as JsonObject);
    },
  },
  {
    name: "device_del",
    parameters: [word("id")],
    usage: "device",
    summary: "remove device",
    *run(core, _out, args) {
      yield* core.perform("device_del", { id: text(args, "id") });
    },
  },
  {
    name: "system_reset",
    parameters: [],
    usage: "",
    summary: "reset the system",
    *run(core) {
      yield* core.perform("system_reset");
    },
  },
];
