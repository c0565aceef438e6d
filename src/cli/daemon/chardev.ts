/** Character devices for monitors: sockets (listening, connecting, or inherited as they are), pipes of this process. */
import { unlinkSync } from "node:fs";
import { Socket } from "node:net";
import { BlockError } from "../../base/error.js";
import type { Duplex } from "../../nbd/duplex.js";
import { connectSocket, listen, socketDuplex, type SocketAddress } from "../../nbd/node-socket.js";
import { optsToObject, parseOpts, scalarText } from "../../qapi/options.js";
import { standardOutput } from "./standard-streams.js";

export interface Chardev {
  readonly id: string;
  /** Hands over every connection; resolves when the first can come (or, with wait=on, has come). */
  open(accept: (duplex: Duplex) => Promise<void>): Promise<void>;
  close(): Promise<void>;
}

/** One of `makeChardev`. */
export interface OpenChardev extends Chardev {
  /** Resolves when what its clients have been told is out, or `limit` ms later. */
  settled(limit: number): Promise<void>;
}

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

/** How long the last output may take to go, in ms. */
const LAST_OUTPUT = 3000;
/** How long images wait to be closed, which may print errors, until answers before that are out. */
const EARLIER_OUTPUT = 100;

/** Waits for what the clients of all have been told. */
export async function earlierOutput(chardevs: Iterable<OpenChardev>): Promise<void> {
  await Promise.all([...chardevs].map((chardev) => chardev.settled(EARLIER_OUTPUT)));
}

/** A chardev that, when it closes, lets out first what its clients still have to be told. */
export function makeChardev(text: string): OpenChardev {
  const chardev = openChardev(text);
  let writing = 0;
  let gone = (): void => {};
  async function settled(limit: number): Promise<void> {
    // An answer that was given just now is about to be written.
    await new Promise((resolve) => setImmediate(resolve));
    if (writing === 0) return;
    await new Promise<void>((resolve) => {
      gone = resolve;
      setTimeout(resolve, limit).unref();
    });
  }
  const counted = (duplex: Duplex): Duplex => ({
    incoming: duplex.incoming,
    close: () => duplex.close(),
    async write(parts) {
      writing++;
      try {
        await duplex.write(parts);
      } finally {
        if (--writing === 0) setImmediate(() => writing === 0 && gone());
      }
    },
  });
  return {
    id: chardev.id,
    open: (accept) => chardev.open((duplex) => accept(counted(duplex))),
    settled,
    async close() {
      await settled(LAST_OUTPUT);
      await chardev.close();
    },
  };
}

function openChardev(text: string): Chardev {
  const options = optsToObject(parseOpts(text, "backend"));
  const get = (name: string): string | undefined => {
    const value = options[name];
    return value === undefined ? undefined : scalarText(value);
  };
  const flag = (name: string, absent: boolean): boolean => {
    const value = get(name);
    return value === undefined ? absent : value === "on" || value === "yes" || value === "true";
  };
  const id = get("id");
  if (id === undefined) throw fail("Parameter 'id' is missing");
  const backend = get("backend");
  if (backend === "stdio") return stdioChardev(id);
  if (backend !== "socket") throw fail(`'${backend ?? ""}' is not a valid char driver name`);
  const path = get("path");
  const fd = get("fd");
  if (fd !== undefined && get("server") === undefined) return inheritedChardev(id, fd);
  const address: SocketAddress = path !== undefined ? { path } : { host: get("host") ?? "", port: Number(get("port") ?? NaN) };
  if ("port" in address && !(address.port >= 0 && address.port < 65536)) throw fail("chardev: socket: no port given");
  const server = flag("server", false);
  return socketChardev(id, address, server, flag("wait", server));
}

function stdioChardev(id: string): Chardev {
  return {
    id,
    async open(accept) {
      const { stdin } = process;
      const stdout = standardOutput();
      void accept({
        incoming: stdin as AsyncIterable<Uint8Array>,
        write: (parts) =>
          new Promise<void>((resolve, reject) => {
            let left = parts.length;
            if (left === 0) resolve();
            for (const part of parts)
              stdout.write(part, (error) => (error ? reject(error) : --left === 0 ? resolve() : undefined));
          }),
        close: () => void stdin.destroy(),
      });
    },
    async close() {
      process.stdin.destroy();
    },
  };
}

/** A connection that whoever started the program has made. */
function inheritedChardev(id: string, fd: string): Chardev {
  if (!/^\d+$/.test(fd)) throw fail(`File descriptor '${fd}' is not a number`);
  let end = (): void => {};
  return {
    id,
    async open(accept) {
      const duplex = socketDuplex(new Socket({ fd: Number(fd), readable: true, writable: true }));
      end = () => duplex.close();
      void accept(duplex);
    },
    close: async () => end(),
  };
}

function socketChardev(id: string, address: SocketAddress, isServer: boolean, wait: boolean): Chardev {
  let end = async (): Promise<void> => {};
  return {
    id,
    async open(accept) {
      if (!isServer) {
        const duplex = socketDuplex(await connectSocket(address));
        end = async () => duplex.close();
        void accept(duplex);
        return;
      }
      if ("path" in address) removeSocket(address.path);
      let first = (): void => {};
      const came = new Promise<void>((resolve) => (first = resolve));
      const server = await listen(address, (socket) => {
        first();
        void accept(socketDuplex(socket));
      });
      end = () =>
        new Promise((resolve) => {
          server.close(() => resolve());
          if ("path" in address) removeSocket(address.path);
          setTimeout(resolve, 300).unref();
        });
      if (wait) await came;
    },
    close: () => end(),
  };
}

function removeSocket(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // it was not there
  }
}
