/** The `nbd` protocol driver on Node's sockets. */
import type { Socket } from "node:net";
import { BlockError, prefixError } from "../base/error.js";
import type { BlockdevOptions, Environment, OpenContext } from "../block/context.js";
import type { Driver, StorageImpl } from "../block/driver.js";
import { foreign, type Op } from "../block/op.js";
import { protocolOf } from "../block/filename.js";
import { READ_WRITE } from "../block/flags.js";
import { writeZeroes } from "../block/io.js";
import type { Node } from "../block/node.js";
import { openNode } from "../block/open.js";
import { storageImpl } from "../block/protocol.js";
import { take, takeBool, takeSize, takeString } from "../block/take.js";
import { NbdClient } from "./client.js";
import { nbdStorage } from "./client-storage.js";
import type { Duplex } from "./duplex.js";
import { connectSocket, socketDuplex, type SocketAddress } from "./node-socket.js";
import { systemTls } from "./node-tls.js";
import { clientTls, type StartTls } from "./tls.js";
import { DEFAULT_PORT, formatNbdUri, parseNbdAddress, type NbdAddress } from "./uri.js";

/** Time a connection may take, in ms. */
const CONNECT_TIMEOUT = 30_000;

export function socketAddress(address: NbdAddress): SocketAddress {
  const { server } = address;
  if (server.type === "unix") return { path: server.path };
  const port = Number(server.port);
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new BlockError("ERR_INVALID_ARGUMENT", `'${server.port}' is no port number`);
  const { host, family = null } = server;
  return { host, port, ...(family === null ? {} : { family }) };
}

/** `ipv4` and `ipv6` of an InetSocketAddress. `isNamed`: neither is said, so that host and port are the whole address. */
export function takeFamily(bag: Record<string, unknown>): { family: 4 | 6 | null; isNamed: boolean } {
  const ipv4 = takeBool(bag, "ipv4");
  const ipv6 = takeBool(bag, "ipv6");
  const family =
    ipv4 === false || (ipv6 === true && ipv4 !== true) ? 6 : ipv6 === false || (ipv4 === true && ipv6 !== true) ? 4 : null;
  return { family, isNamed: ipv4 === undefined && ipv6 === undefined };
}

function takeAddress(context: OpenContext): NbdAddress {
  const { options } = context;
  const filename = takeString(options, "filename");
  if (filename !== undefined) return parseNbdAddress(filename);
  const server = take(options, "server");
  const name = takeString(options, "export") ?? "";
  const bag = typeof server === "object" && server !== null ? { ...(server as Record<string, unknown>) } : {};
  const path = takeString(bag, "path") ?? takeString(options, "path");
  const host = takeString(bag, "host") ?? takeString(options, "host");
  const port = takeString(bag, "port") ?? takeString(options, "port");
  const type = takeString(bag, "type");
  const { family, isNamed } = takeFamily(bag);
  if (type !== undefined && type !== "unix" && type !== "inet")
    throw new BlockError("ERR_UNSUPPORTED", `Sockets of type '${type}' are not supported`);
  if (path !== undefined && host !== undefined)
    throw new BlockError("ERR_INVALID_ARGUMENT", "path and host may not be used at the same time");
  if (path !== undefined) return { server: { type: "unix", path }, export: name, tls: false };
  if (host === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", "NBD server address missing");
  return { server: { type: "inet", host, port: port ?? DEFAULT_PORT, family, isNamed }, export: name, tls: false };
}

/** TLS as the options or the URI ask for it; undefined: none. */
function takeTls(context: OpenContext, address: NbdAddress): StartTls | undefined {
  const id = takeString(context.options, "tls-creds");
  const host = address.server.type === "inet" ? address.server.host : null;
  const hostname = takeString(context.options, "tls-hostname") ?? host;
  if (id !== undefined) return clientTls((name) => context.environment.findObject?.(name), id, hostname);
  return address.tls ? (duplex) => systemTls().connect(duplex, hostname ?? "localhost") : undefined;
}

export async function connectTo(where: SocketAddress): Promise<Duplex> {
  return socketDuplex(await connectOrSay(where));
}

/** Connects a socket; says where it could not. */
export async function connectOrSay(where: SocketAddress): Promise<Socket> {
  try {
    return await connectSocket(where, CONNECT_TIMEOUT);
  } catch (error) {
    const name = "path" in where ? where.path : `${where.host}:${where.port}`;
    const { code, message } = error as { code?: string; message: string };
    if (code === "ENOTFOUND" || code === "EAI_AGAIN")
      throw new BlockError("ERR_IO", `address resolution failed for ${name}: Name or service not known`, { cause: error });
    const why: Readonly<Record<string, string>> = {
      ENOENT: "No such file or directory",
      ECONNREFUSED: "Connection refused",
      EACCES: "Permission denied",
    };
    throw new BlockError("ERR_IO", `Failed to connect to '${name}': ${why[code ?? ""] ?? message}`, { cause: error });
  }
}

function* openForCreate(environment: Environment, options: BlockdevOptions): Op<Node> {
  try {
    return yield* openNode(environment, { driver: "nbd", options, flags: { ...READ_WRITE, unmap: true } });
  } catch (error) {
    throw prefixError("Protocol driver 'nbd' does not support image creation, and opening the image failed: ", error);
  }
}

/** Seconds, as QEMU has them, in ms. */
const takeSeconds = (bag: Record<string, unknown>, name: string): number => (takeSize(bag, name) ?? 0) * 1000;

export const nbd: Driver = {
  name: "nbd",
  category: "protocol",
  schemes: ["nbd", "nbds"],
  runtimeOptions: [
    "filename",
    "server",
    "export",
    "path",
    "host",
    "port",
    "tls-creds",
    "tls-hostname",
    "x-dirty-bitmap",
    "reconnect-delay",
    "open-timeout",
  ],
  strongOptions: ["path", "host", "port", "export", "tls-creds", "tls-hostname", "server."],
  directoryless: "NBD",
  parseFilename(filename) {
    const address = parseNbdAddress(filename);
    if (address.tls) return { filename };
    return { server: address.server, ...(address.export === "" ? {} : { export: address.export }) };
  },
  /** An export is there or it is not: what it holds becomes the new image. */
  *createFile(environment, filename): Op<Node> {
    const options = protocolOf(filename) === null ? { filename } : (nbd.parseFilename?.(filename) ?? { filename });
    const node = yield* openForCreate(environment, options);
    // What was there before must not be taken for an image should the making of the new one fail half way.
    yield* writeZeroes(node, 0, Math.min(512, node.size));
    return node;
  },
  *open(context: OpenContext): Op<StorageImpl> {
    const { options, flags } = context;
    const address = takeAddress(context);
    const startTls = takeTls(context, address);
    const reconnectDelay = takeSeconds(options, "reconnect-delay");
    const openTimeout = takeSeconds(options, "open-timeout");
    const bitmap = takeString(options, "x-dirty-bitmap");
    const name = formatNbdUri(address);
    // A URI cannot say which family of addresses is meant.
    if (address.server.type === "unix" || address.server.isNamed !== false) context.node.givenName = name;
    const readOnly = !flags.write;
    const autoReadOnly = flags.autoReadOnly === true;
    const where = socketAddress(address);
    const connect = async (): Promise<NbdClient> =>
      await NbdClient.connect(await connectTo(where), {
        exportName: address.export,
        startTls,
        ...(bitmap === undefined ? {} : { contexts: [bitmap] }),
      });
    const storage = yield* foreign(`Connecting to '${name}'`, null, () =>
      nbdStorage({
        name,
        readOnly,
        autoReadOnly,
        connect,
        reconnectDelay,
        openTimeout,
        ...(bitmap === undefined ? {} : { context: bitmap }),
      }),
    );
    if (storage.readOnly) flags.write = false;
    return yield* storageImpl(storage);
  },
};
