/** Where to listen: TCP or Unix sockets; what cannot be is refused. */
import { BlockError } from "../base/error.js";
import type { SocketAddress } from "./export-list.js";

export function listenAddress(given: Readonly<Record<string, unknown>>): SocketAddress {
  const { type } = given;
  if (type === "unix") {
    if (typeof given["path"] !== "string") throw new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'addr.data.path' is missing");
    return { type, path: given["path"] };
  }
  if (type === "inet") {
    for (const name of ["host", "port"])
      if (typeof given[name] !== "string")
        throw new BlockError("ERR_INVALID_ARGUMENT", `Parameter 'addr.data.${name}' is missing`);
    return { type, host: given["host"] as string, port: given["port"] as string };
  }
  throw new BlockError("ERR_UNSUPPORTED", `Sockets of type '${String(type)}' are not supported`);
}
