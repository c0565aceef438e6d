/** Listening on sockets of the host, for the NBD server and for monitors. */
import { renameSync, unlinkSync } from "node:fs";
import type { Server } from "node:net";
import { BlockError } from "../base/error.js";
import { listen, socketDuplex } from "../nbd/node-socket.js";
import type { Listen } from "../qmp/export-list.js";

/** Sockets of the host for nbd-server-start. */
export const listenOnSockets: Listen = async (address, accept) => {
  const where =
    address.type === "unix"
      ? { path: address.path }
      : { host: address.host === "" ? "0.0.0.0" : address.host, port: Number(address.port) };
  if ("path" in where) removeQuietly(where.path);
  else if (!Number.isInteger(where.port) || where.port < 0 || where.port > 65535)
    throw new BlockError("ERR_INVALID_ARGUMENT", `address resolution failed for ${where.host}:${address.port as string}`);
  const server = await listen(where, (socket) => accept(socketDuplex(socket)));
  return (leaveSocket) => {
    if ("path" in where && leaveSocket) closeAndLeave(server, where.path);
    else {
      server.close();
      if ("path" in where) removeQuietly(where.path);
    }
    return Promise.resolve();
  };
};

/** Node removes the file of a socket with its server, by name: the name is another one for that moment. */
function closeAndLeave(server: Server, path: string): void {
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
    server.close();
    renameSync(aside, path);
  } catch {
    server.close();
  }
}

export function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // it was not there
  }
}
