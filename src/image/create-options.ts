/** The options of `create`: those of the format and those of the protocol of the file it is put into. */
import { BlockError } from "../base/error.js";
import type { CreateOption, Environment } from "../block/context.js";
import type { Driver } from "../block/driver.js";
import { filenameToOptions } from "../block/filename.js";
import { describeOpts, readOpts, type OptDesc } from "../qapi/opt-table.js";
import type { Opt } from "../qapi/options.js";

/** Options of files on the host, below whatever format. */
const FILE_OPTIONS: readonly CreateOption[] = [
  { name: "nocow", type: "bool", help: "Turn off copy-on-write (valid only on btrfs)" },
  { name: "preallocation", type: "string", help: "Preallocation mode (allowed values: off, falloc, full)" },
  { name: "extent_size_hint", type: "size", help: "Extent size hint for the image file, 0 to disable" },
];

/** Finds a format that can be created. Throws with qemu-img's words. */
export function formatForCreate(environment: Environment, format: string): Driver {
  const driver = environment.drivers.get(format);
  if (driver === undefined) throw new BlockError("ERR_UNSUPPORTED", `Unknown file format '${format}'`, { errno: "EINVAL" });
  if (driver.createOptions === undefined && driver.createFile === undefined) {
    throw new BlockError("ERR_UNSUPPORTED", `Format driver '${format}' does not support image creation`, { errno: "ENOTSUP" });
  }
  return driver;
}

/** The protocol a file name belongs to, if it can make files. Throws with qemu-img's words. */
export function protocolForCreate(environment: Environment, filename: string): Driver {
  const name = String(filenameToOptions(filename, environment.drivers)["driver"]);
  const driver = environment.drivers.get(name);
  if (driver === undefined) throw new BlockError("ERR_UNSUPPORTED", `Unknown protocol '${filename}'`, { errno: "EINVAL" });
  if (driver.createFile === undefined) {
    throw new BlockError("ERR_UNSUPPORTED", `Protocol driver '${name}' does not support image creation`, { errno: "ENOTSUP" });
  }
  return driver;
}

/** All that is to say about a file without a format in it. */
const FILE_SIZE: CreateOption = { name: "size", type: "size", help: "Virtual disk size" };

/** All options, in the order in which they are listed; without a protocol the format's own. */
export function createOptionTable(driver: Driver, protocol: Driver | null): CreateOption[] {
  // Our raw driver takes the file's options itself.
  const own = (driver.createOptions ?? [FILE_SIZE]).filter((option) => driver.name !== "raw" || option.name === "size");
  if (protocol === null || protocol.name !== "file") return [...own];
  return [...own, ...FILE_OPTIONS.filter((option) => !own.some((other) => other.name === option.name))];
}

const withoutDefaults = (table: readonly CreateOption[]): OptDesc[] =>
  table.map(({ name, type, help }) => ({ name, type, help }));

/** Reads `-o` options; numbers are numbers, what is beyond 2^53-1 is refused. */
export function readCreateOptions(
  table: readonly CreateOption[],
  opts: readonly Opt[],
): Record<string, string | boolean | number> {
  const values = readOpts(withoutDefaults(table), opts) as Record<string, string | boolean | number | bigint>;
  const result: Record<string, string | boolean | number> = {};
  for (const [name, value] of Object.entries(values)) {
    if (typeof value === "bigint") {
      // -1 and its like stand for "nothing sensible"; the driver words what it thinks of them.
      result[name] = Infinity;
    } else {
      result[name] = value;
    }
  }
  return result;
}

/** The lines of `-o help`. */
export function createOptionHelp(driver: Driver, protocol: Driver | null): string[] {
  return describeOpts(withoutDefaults(createOptionTable(driver, protocol)));
}

/** "cluster_size=65536 … ": given options and defaults in the table's order, as the "Formatting" line shows them. */
export function formatCreateOptions(
  table: readonly CreateOption[],
  values: Readonly<Record<string, unknown>>,
  opts: readonly Opt[],
): string {
  const words: string[] = [];
  for (const { name, type, default: fallback } of table) {
    const value = values[name];
    if (value === undefined) {
      if (fallback !== undefined)
        words.push(
          `${name}=${type === "size" || type === "number" ? String(readOpts([{ name, type }], [{ name, value: fallback }])[name]) : fallback}`,
        );
    } else if (type === "string") {
      words.push(`${name}=${String(value).replaceAll(",", ",,")}`);
    } else if (type === "bool") {
      words.push(`${name}=${opts.filter((opt) => opt.name === name).at(-1)?.value ?? (value === true ? "on" : "off")}`);
    } else {
      words.push(`${name}=${String(value)}`);
    }
  }
  return words.join(" ");
}
