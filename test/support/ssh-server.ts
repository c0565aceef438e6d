/** An SSH server with SFTP over the files of this machine, for tests. It offers no fsync, and can be made to misbehave. */
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, statSync, writeSync } from "node:fs";
import type { AddressInfo, Socket } from "node:net";
import { constants } from "node:fs";
import ssh2 from "ssh2";
import type { Connection, Session, SFTPWrapper } from "ssh2";

const { STATUS_CODE, OPEN_MODE } = ssh2.utils.sftp;

export interface SshServerOptions {
  /** Private keys of the server; one ed25519 key when absent. */
  hostKeys?: readonly string[];
  /** The public key that users log in with; anyone may come in when absent. */
  authorized?: string;
  /** Bytes of an answer at most. */
  shortReads?: number;
  /** Asked before each request; "drop" ends the connection, "silent" gives no answer, "fail" says that it failed. */
  misbehave?: (request: string, index: number) => "drop" | "silent" | "fail" | null;
}

export interface SshTestServer {
  port: number;
  /** Requests so far. */
  readonly log: string[];
  /** The most requests there have been without an answer. */
  readonly mostUnderWay: () => number;
  close(): Promise<void>;
}

export interface TestKey {
  private: string;
  /** "type base64". */
  public: string;
}

export const testKey = (type: "ed25519" | "rsa" | "ecdsa" = "ed25519"): TestKey => {
  for (;;) {
    const made =
      type === "ed25519"
        ? ssh2.utils.generateKeyPairSync("ed25519")
        : ssh2.utils.generateKeyPairSync(type as "ecdsa", { bits: (type === "rsa" ? 2048 : 256) as 256 });
    // One key in some hundreds that ssh2 makes is none that anybody can read: it drops zero bytes at its beginning.
    if (ssh2.utils.parseKey(made.private) instanceof Error) continue;
    return { private: made.private, public: made.public.split(" ").slice(0, 2).join(" ") };
  }
};

function flagsOf(mode: number): number {
  const writes = (mode & OPEN_MODE.WRITE) !== 0;
  const reads = (mode & OPEN_MODE.READ) !== 0;
  let flags = writes ? (reads ? constants.O_RDWR : constants.O_WRONLY) : constants.O_RDONLY;
  if ((mode & OPEN_MODE.CREAT) !== 0) flags |= constants.O_CREAT;
  if ((mode & OPEN_MODE.TRUNC) !== 0) flags |= constants.O_TRUNC;
  return flags;
}

export async function sshServer(options: SshServerOptions = {}): Promise<SshTestServer> {
  const log: string[] = [];
  const sockets = new Set<Socket>();
  let underWay = 0;
  let most = 0;

  const serve = (sftp: SFTPWrapper, drop: () => void): void => {
    const open = new Set<number>();
    const fd = (handle: Buffer): number => {
      const found = handle.length === 4 ? handle.readUInt32BE(0) : -1;
      if (!open.has(found)) throw Object.assign(new Error("no such handle"), { code: "EBADF" });
      return found;
    };
    const answer = (name: string, id: number, work: () => void): void => {
      const index = log.push(name) - 1;
      most = Math.max(most, ++underWay);
      // Later, so that what is under way at a time can be counted.
      setImmediate(() => {
        underWay--;
        const what = options.misbehave?.(name, index) ?? null;
        if (what === "silent") return;
        if (what === "drop") return drop();
        try {
          if (what === "fail") throw new Error("as the test wants it");
          work();
        } catch (error) {
          const { code } = error as { code?: string };
          const status = code === "ENOENT" || code === "ENOTDIR" ? 2 : code === "EACCES" || code === "EROFS" ? 3 : 4;
          const text = { 2: "No such file", 3: "Permission denied", 4: "Failure" }[status]!;
          sftp.status(id, status, text);
        }
      });
    };
    sftp.on("OPEN", (id, path, mode) =>
      answer("OPEN", id, () => {
        const made = openSync(path, flagsOf(mode), 0o644);
        open.add(made);
        const handle = Buffer.alloc(4);
        handle.writeUInt32BE(made);
        sftp.handle(id, handle);
      }),
    );
    sftp.on("READ", (id, handle, offset, length) =>
      answer("READ", id, () => {
        const bytes = Buffer.alloc(Math.min(length, options.shortReads ?? length));
        const count = readSync(fd(handle), bytes, 0, bytes.length, offset);
        if (count === 0) sftp.status(id, STATUS_CODE.EOF);
        else sftp.data(id, bytes.subarray(0, count));
      }),
    );
    sftp.on("WRITE", (id, handle, offset, data) =>
      answer("WRITE", id, () => {
        writeSync(fd(handle), data, 0, data.length, offset);
        sftp.status(id, STATUS_CODE.OK);
      }),
    );
    const attributes = (found: ReturnType<typeof fstatSync>): ssh2.Attributes => ({
      mode: Number(found!.mode),
      uid: 0,
      gid: 0,
      size: Number(found!.size),
      atime: 0,
      mtime: 0,
    });
    sftp.on("FSTAT", (id, handle) => answer("FSTAT", id, () => sftp.attrs(id, attributes(fstatSync(fd(handle))))));
    for (const name of ["STAT", "LSTAT"] as const)
      sftp.on(name, (id: number, path: string) => answer(name, id, () => sftp.attrs(id, attributes(statSync(path)))));
    sftp.on("FSETSTAT", (id, handle, { size }) =>
      answer("FSETSTAT", id, () => {
        ftruncateSync(fd(handle), size);
        sftp.status(id, STATUS_CODE.OK);
      }),
    );
    sftp.on("CLOSE", (id, handle) =>
      answer("CLOSE", id, () => {
        const closed = fd(handle);
        closeSync(closed);
        open.delete(closed);
        sftp.status(id, STATUS_CODE.OK);
      }),
    );
    sftp.on("close", () => {
      for (const left of open) closeSync(left);
      open.clear();
    });
  };

  const hostKeys = options.hostKeys ?? [testKey().private];
  const server = new ssh2.Server({ hostKeys: [...hostKeys] }, (client: Connection) => {
    client.on("error", () => {});
    client.on("authentication", (context) => {
      if (options.authorized === undefined) return context.accept();
      if (context.method !== "publickey") return context.reject(["publickey"]);
      const key = ssh2.utils.parseKey(options.authorized);
      if (key instanceof Error || !key.getPublicSSH().equals(context.key.data)) return context.reject();
      // An error is no yes.
      const verified: unknown = !context.signature || key.verify(context.blob!, context.signature, context.hashAlgo);
      if (verified !== true) return context.reject();
      context.accept();
    });
    client.on("ready", () =>
      client.on("session", (accept: () => Session) => {
        accept().on("sftp", (acceptSftp) => serve(acceptSftp(), () => (client as unknown as { _sock: Socket })._sock.destroy()));
      }),
    );
  });
  // Those that are connected are ended with the server.
  (server as unknown as { _srv: import("node:net").Server })._srv.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.once("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    log,
    mostUnderWay: () => most,
    close: () =>
      new Promise<void>((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}
