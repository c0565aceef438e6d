/** File names as QEMU reads them: protocol prefixes, `json:` descriptions, paths relative to the image that names them. */
import { BlockError } from "../base/error.js";
import type { BlockdevOptions } from "./context.js";
import type { Driver } from "./driver.js";
import { readJsonName } from "./json-names.js";

/** The prefix before the first ':' where that comes before any '/': "nbd" of "nbd://host", null for plain paths. "C:\…" is a path. */
export function protocolOf(filename: string): string | null {
  const colon = filename.indexOf(":");
  if (colon <= 0) return null;
  const slash = filename.indexOf("/");
  if (slash >= 0 && slash < colon) return null;
  if (colon === 1 && /^[A-Za-z]:[\\/]/.test(filename)) return null;
  return filename.slice(0, colon);
}

export function isAbsolutePath(filename: string): boolean {
  return filename.startsWith("/") || /^[A-Za-z]:[\\/]/.test(filename) || filename.startsWith("\\\\");
}

/** The options a file name stands for: `json:{…}`, "scheme:…", or a path of the file protocol. */
export function filenameToOptions(filename: string, drivers: ReadonlyMap<string, Driver>): BlockdevOptions {
  if (filename.startsWith("json:")) return readJsonName(filename);
  const protocol = protocolOf(filename);
  if (protocol === null) {
    for (const driver of drivers.values()) if (driver.claims?.(filename) === true) return { driver: driver.name, filename };
    return { driver: "file", filename };
  }
  if (protocol === "file") {
    const path = filename.slice("file:".length);
    // What is left may look like a protocol again; it is a path.
    return { driver: "file", filename: protocolOf(path) === null ? path : `./${path}` };
  }
  const scheme = protocol.replace(/\+.*$/, "");
  for (const driver of drivers.values()) {
    if (driver.schemes?.includes(scheme) !== true) continue;
    return driver.parseFilename === undefined
      ? { driver: driver.name, filename }
      : { driver: driver.name, ...driver.parseFilename(filename) };
  }
  throw new BlockError("ERR_UNSUPPORTED", `Unknown protocol '${protocol}'`, { errno: "EINVAL" });
}

/** What `filename` means inside the image called `base`: relative names are relative to the directory of `base`. */
export function resolveReference(base: string, filename: string): string {
  if (filename.startsWith("json:") || protocolOf(filename) !== null || isAbsolutePath(filename)) return filename;
  if (base.startsWith("json:")) {
    throw new BlockError("ERR_INVALID_ARGUMENT", `Cannot use relative backing file names for '${base}'`, { errno: "EINVAL" });
  }
  return directoryOf(base) + filename;
}

/** Everything up to and including the last separator, keeping a protocol prefix ("nbd:…" has none to keep). */
export function directoryOf(filename: string): string {
  const protocol = protocolOf(filename);
  const query = protocol === "http" || protocol === "https" ? filename.search(/[?#]/) : -1;
  const path = query < 0 ? filename : filename.slice(0, query);
  let cut = path.lastIndexOf("/");
  if (/^[A-Za-z]:[\\/]/.test(path) || path.startsWith("\\\\")) cut = Math.max(cut, path.lastIndexOf("\\"));
  if (cut >= 0) return path.slice(0, cut + 1);
  return protocol === null ? "" : `${protocol}:`;
}

export function baseName(filename: string): string {
  return filename.slice(directoryOf(filename).length);
}
