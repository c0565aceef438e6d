/** Drivers that the schema has and that nothing here can be: their options are read, and opening says what is missing. */
import { BlockError } from "../base/error.js";
import type { Driver } from "../block/driver.js";
import { take, takeSize, takeString } from "../block/take.js";

const unsupported = (message: string): BlockError => new BlockError("ERR_UNSUPPORTED", message, { errno: "ENOTSUP" });

/** Volumes of the Archipelago storage system: reached through shared memory of daemons on the same host. */
const archipelago: Driver = {
  name: "archipelago",
  category: "protocol",
  schemes: ["archipelago"],
  runtimeOptions: ["volume", "mport", "vport", "segment"],
  parseFilename(filename) {
    const rest = filename.slice("archipelago:".length);
    const [volume = "", ...more] = rest.split("/");
    const options: Record<string, unknown> = { volume };
    for (const part of more.join("/").split(":")) {
      if (part === "") continue;
      const [name = "", value = ""] = part.split("=", 2);
      options[name] = value;
    }
    return options;
  },
  // eslint-disable-next-line require-yield
  *open({ options }) {
    const volume = takeString(options, "volume");
    if (volume === undefined || volume === "") throw new BlockError("ERR_INVALID_ARGUMENT", "archipelago: 'volume' is missing");
    for (const name of ["mport", "vport"]) takeSize(options, name);
    take(options, "segment");
    throw unsupported(
      `Archipelago volume '${volume}' cannot be opened: it takes a shared memory segment of Archipelago's own daemons`,
    );
  },
};

function absent(name: string, message: string): Driver {
  return {
    name,
    category: "protocol",
    // eslint-disable-next-line require-yield
    *open() {
      throw unsupported(message);
    },
  };
}

export const absentDrivers: readonly Driver[] = [
  archipelago,
  absent("host_floppy", "Driver 'host_floppy' is not supported: use 'host_device' for the device's blocks"),
  absent("blkreplay", "Driver 'blkreplay' is not supported: it orders requests by a recorded machine, and there is none"),
];
