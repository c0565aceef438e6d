/** A small FTP server (passive mode, REST, implicit TLS on request) and a small TFTP server, for tests. */
import { createSocket } from "node:dgram";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";

export interface TestServer {
  port: number;
  /** Commands or requests so far. */
  readonly log: string[];
  close(): Promise<void>;
}

export interface FtpServerOptions {
  files: ReadonlyMap<string, Uint8Array>;
  user?: string;
  password?: string;
  tls?: { key: string | Buffer; cert: string | Buffer };
  /** Transfers send at most so many bytes, then end as if that was all. */
  cutAt?: number;
}

export async function ftpServer(options: FtpServerOptions): Promise<TestServer> {
  const log: string[] = [];
  const listen = (serve: (socket: Socket) => void): Server =>
    options.tls === undefined ? createServer(serve) : createTlsServer(options.tls, serve);
  const open = new Set<Server>();
  const control = listen((socket) => {
    let rest = 0;
    let data: Promise<Socket> | null = null;
    let user = "";
    const say = (text: string): void => void socket.write(`${text}\r\n`);
    const find = (path: string): Uint8Array | undefined => options.files.get(path);
    const retrieve = async (bytes: Uint8Array): Promise<void> => {
      const peer = await data!;
      say("150 here it comes");
      const from = rest;
      rest = 0;
      peer.on("error", () => {});
      peer.end(bytes.subarray(from, options.cutAt === undefined ? undefined : from + options.cutAt));
      peer.once("close", () => say(peer.bytesWritten + from >= bytes.length ? "226 done" : "426 cut off"));
    };
    const passive = (): Promise<number> =>
      new Promise((resolve) => {
        const server = listen((peer) => {
          server.close();
          open.delete(server);
          accept(peer);
        });
        open.add(server);
        let accept: (peer: Socket) => void;
        data = new Promise((done) => (accept = done));
        server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
      });
    const answer = async (line: string): Promise<void> => {
      log.push(line);
      const [verb = "", argument = ""] = /^(\S+) ?(.*)$/.exec(line)?.slice(1) ?? [];
      switch (verb.toUpperCase()) {
        case "USER":
          user = argument;
          return say("331 password?");
        case "PASS":
          return user === (options.user ?? "anonymous") && (options.password === undefined || argument === options.password)
            ? say("230 welcome")
            : say("530 no");
        case "SIZE":
          return find(argument) === undefined ? say("550 no such file") : say(`213 ${find(argument)!.length}`);
        case "EPSV":
          return say(`229 Entering Extended Passive Mode (|||${await passive()}|)`);
        case "REST":
          rest = Number(argument);
          return say("350 restarting");
        case "RETR":
          return find(argument) === undefined ? say("550 no such file") : await retrieve(find(argument)!);
        case "QUIT":
          say("221 bye");
          return void socket.end();
        case "TYPE":
        case "STRU":
        case "OPTS":
        case "PBSZ":
        case "PROT":
          return say("200 fine");
        default:
          return say("502 what?");
      }
    };
    let text = "";
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      for (let end = text.indexOf("\r\n"); end >= 0; end = text.indexOf("\r\n")) {
        const line = text.slice(0, end);
        text = text.slice(end + 2);
        void answer(line);
      }
    });
    say("220 hello");
  });
  open.add(control);
  await new Promise<void>((resolve) => control.listen(0, "127.0.0.1", resolve));
  return {
    port: (control.address() as AddressInfo).port,
    log,
    close: async () => {
      for (const server of open) server.close();
    },
  };
}

export interface TftpServerOptions {
  files: ReadonlyMap<string, Uint8Array>;
  /** Knows options (RFC 2347); true when absent. */
  options?: boolean;
  /** Bytes of a packet at most. */
  blockSize?: number;
  /** Every n-th packet is lost on its way; 0: none. */
  loseEvery?: number;
}

export async function tftpServer(settings: TftpServerOptions): Promise<TestServer> {
  const log: string[] = [];
  const sockets = new Set<ReturnType<typeof createSocket>>();
  let packets = 0;
  const main = createSocket("udp4");
  sockets.add(main);
  main.on("message", (request, from) => {
    const words = request.subarray(2).toString().split("\0");
    log.push(words.join(" ").trim());
    const bytes = settings.files.get(words[0]!);
    const socket = createSocket("udp4");
    sockets.add(socket);
    const send = (packet: Buffer): void => {
      if (settings.loseEvery !== undefined && ++packets % settings.loseEvery === 0) return;
      socket.send(packet, from.port, from.address);
    };
    const number = (opcode: number, value: number, rest: Uint8Array = Buffer.alloc(0)): Buffer => {
      const head = Buffer.alloc(4);
      head.writeUInt16BE(opcode);
      head.writeUInt16BE(value & 0xffff, 2);
      return Buffer.concat([head, rest]);
    };
    if (bytes === undefined) return send(number(5, 1, Buffer.from("no such file\0")));
    let size = 512;
    /** The packet last sent counts from 1. */
    let current = 0;
    const block = (): Buffer => number(3, current, bytes.subarray((current - 1) * size, current * size));
    socket.on("message", (packet) => {
      if (packet.readUInt16BE(0) !== 4) return;
      // It has not got the last one: once more.
      if (current > 0 && packet.readUInt16BE(2) === ((current - 1) & 0xffff)) return send(block());
      if (packet.readUInt16BE(2) !== (current & 0xffff)) return;
      if (current > 0 && current * size > bytes.length) return void (sockets.delete(socket) && socket.close());
      current++;
      send(block());
    });
    if (settings.options === false) {
      current = 1;
      send(block());
    } else {
      size = Math.min(settings.blockSize ?? 65464, Number(words[words.indexOf("blksize") + 1] ?? 512));
      send(Buffer.concat([Buffer.from([0, 6]), Buffer.from(`tsize\0${bytes.length}\0blksize\0${size}\0`)]));
    }
  });
  await new Promise<void>((resolve) => main.bind(0, "127.0.0.1", resolve));
  return {
    port: main.address().port,
    log,
    close: async () => {
      for (const socket of sockets) socket.close();
    },
  };
}
