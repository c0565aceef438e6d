/** The `nbd` protocol driver on Node's sockets. */
import { BlockError } from "../base/error.js";
import type { OpenContext } from "../block/context.js";
import type { Driver, StorageImpl } from "../block/driver.js";
import { foreign, type Op } from "../block/op.js";
import { storageImpl } from "../block/protocol.js";
import { take, takeSize, takeString } from "../block/take.js";
import { NbdClient } from "./client.js";
import { nbdStorage } from "./client-storage.js";
import { clientTls, connectSocket, socketDuplex, type SocketAddress } from "./node-socket.js";
import { DEFAULT_PORT, formatNbdUri, parseNbdAddress, type NbdAddress } from "./uri.js";

/** Time a connection may take, in ms. */
const CONNECT_TIMEOUT = 30_000;

export function socketAddress(address: NbdAddress): SocketAddress {
  const { server } = address;
  if (server.type === "unix") return { path: server.path };
  const port = Number(server.port);
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new BlockError("ERR_INVALID_ARGUMENT", `'${server.port}' is no port number`);
  return { host: server.host, port };
}

function takeAddress(context: OpenContext): NbdAddress {
  const { options } = context;
  const filename = takeString(options, "filename");
  if (filename !== undefined) return parseNbdAddress(filename);
  const server = take(options, "server");
  const name = takeString(options, "export") ?? "";
  const bag = typeof server === "object" && server !== null ? { ...(server as Record<string, unknown>) } : {};
  const path = takeString(bag, "path") ?? takeString(options, "path");
  if (path !== undefined) return { server: { type: "unix", path }, export: name, tls: false };
  const host = takeString(bag, "host") ?? takeString(options, "host");
  if (host === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", "NBD server address missing");
  return {
    server: { type: "inet", host, port: takeString(bag, "port") ?? takeString(options, "port") ?? DEFAULT_PORT },
    export: name,
    tls: false,
  };
}

export const nbd: Driver = {
  name: "nbd",
  category: "protocol",
  schemes: ["nbd", "nbds"],
  runtimeOptions: ["filename", "server", "export", "path", "host", "port", "reconnect-delay", "open-timeout"],
  parseFilename(filename) {
    const address = parseNbdAddress(filename);
    if (address.tls) return { filename };
    return { server: address.server, ...(address.export === "" ? {} : { export: address.export }) };
  },
  *open(context: OpenContext): Op<StorageImpl> {
    const address = takeAddress(context);
    const delay = takeSize(context.options, "reconnect-delay") ?? 0;
    takeSize(context.options, "open-timeout");
    const name = formatNbdUri(address);
    context.node.filename = name;
    const connect = async (): Promise<NbdClient> => {
      let socket;
      try {
        socket = await connectSocket(socketAddress(address), CONNECT_TIMEOUT);
      } catch (error) {
        const where = address.server.type === "unix" ? address.server.path : `${address.server.host}:${address.server.port}`;
        const code = (error as { code?: string }).code;
        if (code === "ENOTFOUND")
          throw new BlockError("ERR_IO", `address resolution failed for ${where}: Name or service not known`, { cause: error });
        const why =
          code === "ENOENT"
            ? "No such file or directory"
            : code === "ECONNREFUSED"
              ? "Connection refused"
              : (error as Error).message;
        throw new BlockError("ERR_IO", `Failed to connect to '${where}': ${why}`, { cause: error });
      }
      return await NbdClient.connect(socketDuplex(socket, clientTls({})), { exportName: address.export, tls: address.tls });
    };
    const storage = yield* foreign(`Connecting to '${name}'`, null, () =>
      nbdStorage({ name, readOnly: !context.flags.write, connect, reconnectDelay: delay * 1000 }),
    );
    return yield* storageImpl(storage);
  },
};
