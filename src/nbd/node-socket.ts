/** Node's sockets as connections: TCP and Unix sockets, listening and connecting, TLS. */
import type { ListenOptions, Server, Socket } from "node:net";
import type { SecureContext, ConnectionOptions } from "node:tls";
import type { Duplex } from "./duplex.js";

/** Loaded with the first connection: programs that know NBD but do not use it start faster. */
const net = (): typeof import("node:net") => process.getBuiltinModule("node:net");
const tls = (): typeof import("node:tls") => process.getBuiltinModule("node:tls");

export function socketDuplex(socket: Socket, tls?: (socket: Socket) => Promise<Socket>): Duplex {
  socket.on("error", () => socket.destroy());
  socket.setNoDelay?.(true);
  const duplex: Duplex = {
    incoming: socket as AsyncIterable<Uint8Array>,
    write(parts) {
      if (socket.destroyed || socket.writableEnded) return Promise.reject(new Error("The connection is closed"));
      socket.cork();
      let more = true;
      for (const part of parts) if (part.length > 0) more = socket.write(part);
      socket.uncork();
      if (more) return Promise.resolve();
      return new Promise<void>((resolve, reject) => {
        const settle = (): void => {
          socket.off("drain", drained);
          socket.off("close", closed);
        };
        const drained = (): void => {
          settle();
          resolve();
        };
        const closed = (): void => {
          settle();
          reject(new Error("The connection is closed"));
        };
        socket.once("drain", drained);
        socket.once("close", closed);
      });
    },
    close() {
      // What was written goes out; a peer that does not read is not waited for.
      socket.end();
      setTimeout(() => socket.destroy(), 200).unref();
    },
  };
  if (tls !== undefined) duplex.startTls = async () => socketDuplex(await tls(socket));
  return duplex;
}

/** TLS as the server of a connection. */
export function serverTls(context: SecureContext, requestCert: boolean): (socket: Socket) => Promise<Socket> {
  return (socket) =>
    new Promise((resolve, reject) => {
      const secure = new (tls().TLSSocket)(socket, {
        isServer: true,
        secureContext: context,
        requestCert,
        rejectUnauthorized: requestCert,
      });
      secure.once("secure", () => resolve(secure));
      secure.once("error", reject);
      secure.once("close", () => reject(new Error("The TLS handshake failed")));
    });
}

/** TLS as the client of a connection. */
export function clientTls(options: ConnectionOptions): (socket: Socket) => Promise<Socket> {
  return (socket) =>
    new Promise((resolve, reject) => {
      const secure = tls().connect({ ...options, socket }, () => resolve(secure));
      secure.once("error", reject);
    });
}

export type SocketAddress = { path: string } | { host: string; port: number };

/** Listens and hands every connection to `accept`. Resolves when listening. */
export function listen(address: SocketAddress | { fd: number }, accept: (socket: Socket) => void): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = net().createServer({ allowHalfOpen: false, noDelay: true }, accept);
    server.once("error", reject);
    server.listen(address as ListenOptions, () => {
      server.off("error", reject);
      resolve(server);
    });
  });
}

export function connectSocket(address: SocketAddress, timeout?: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = net().connect(address);
    if (timeout !== undefined) socket.setTimeout(timeout, () => socket.destroy(new Error("Connection timed out")));
    socket.once("connect", () => {
      socket.setTimeout(0);
      socket.off("error", reject);
      resolve(socket);
    });
    socket.once("error", reject);
  });
}
