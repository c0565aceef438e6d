/** Questions about the program itself: what it supports. */
import type { Given } from "./command-line.js";
import { DEVICE_TYPES } from "./device-types.js";

const MACHINES =
  "Supported machines are:\n" +
  "pc                   Standard PC (i440FX + PIIX, 1996) (alias of pc-i440fx-7.2)\n" +
  "none                 empty machine\n";

/** The answer; null where nothing was asked. `drivers`: names of the block drivers there are. */
export function answerProbe(given: readonly Given[], drivers: () => readonly string[]): string | null {
  for (const { name, value } of given) {
    if (name === "version") return "QEMU emulator version 7.2.0 (Blockcore stand-in)\n";
    if (name === "h" || name === "help") return "Block devices and their monitors for tests; there is no guest.\n";
    if ((name === "machine" || name === "M") && value === "help") return MACHINES;
    if (name === "device" && value === "help") {
      const line = (type: string, bus: string | null, alias: string | undefined): string =>
        `name "${type}"${bus === null ? "" : `, bus ${bus}`}${alias === undefined ? "" : `, alias "${alias}"`}\n`;
      return Object.entries(DEVICE_TYPES)
        .map(([type, { bus, alias }]) => line(type, bus, alias))
        .join("");
    }
    if (name === "drive" && value === "format=help") {
      const names = [...drivers()].sort().join(" ");
      return `Supported formats: ${names}\nSupported formats (read-only): ${names}\n`;
    }
  }
  return null;
}
