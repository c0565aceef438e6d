/** The protocol `ssh`: files on SSH servers, with the options of QEMU's driver. */
import { userInfo } from "node:os";
import { BlockError, toBlockError } from "../base/error.js";
import type { Environment } from "../block/context.js";
import type { Driver, StorageImpl } from "../block/driver.js";
import { READ_WRITE } from "../block/flags.js";
import { Node } from "../block/node.js";
import { foreign, type Op } from "../block/op.js";
import { storageImpl } from "../block/protocol.js";
import { take, takeEnum, takeString } from "../block/take.js";
import { connectOrSay, takeFamily } from "../nbd/node-driver.js";
import type { HostKeyCheck } from "../storage/ssh/node-session.js";
import { sshStorage } from "../storage/ssh/node-ssh.js";
import type { Storage } from "../storage/storage.js";

type Bag = Record<string, unknown>;

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

const MODES = ["none", "hash", "known_hosts"] as const;
const HASHES = ["md5", "sha1", "sha256"] as const;
const OPTIONS = ["server", "host", "port", "path", "user", "host_key_check", "host-key-check"] as const;
const DEFAULT_PORT = "22";

interface SshFile {
  host: string;
  port: number;
  family: 4 | 6 | null;
  user: string;
  path: string;
  hostKeyCheck: HostKeyCheck;
  /** The URL; null where a URL cannot say it all. */
  url: string | null;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid SSH URL: '${text}' is not valid`, { cause });
  }
}

/** ssh://[user@]host[:port]/path[?host_key_check=…]: the path is taken as it is, "/../" and all. */
function parseUrl(url: string): Bag {
  const [, authority = "", path = "", query = ""] = /^ssh:(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?/.exec(url) ?? [];
  const [, user, host = "", port] = /^(?:(.*)@)?(\[[^\]]*\]|[^:]*)(?::([0-9]*))?$/.exec(authority) ?? [];
  if (host === "") throw fail("missing hostname in URI");
  if (path === "") throw fail("missing remote path in URI");
  const check = new URLSearchParams(query).get("host_key_check");
  return {
    ...(user === undefined || user === "" ? {} : { user: decoded(user) }),
    server: { host: host.replace(/^\[|\]$/g, ""), port: port === undefined || port === "" ? DEFAULT_PORT : port },
    path: decoded(path),
    ...(check === null ? {} : { host_key_check: check }),
  };
}

function formatUrl({ host, port, user, path }: Omit<SshFile, "url">, check: string | undefined): string {
  const where = host.includes(":") ? `[${host}]` : host;
  const plainPath = path.replace(/[%?#]/g, encodeURIComponent);
  return `ssh://${user}@${where}:${port}${plainPath}${check === undefined ? "" : `?host_key_check=${check}`}`;
}

/** "no", "yes" or "type:fingerprint", as it was before there were options for it. */
function oldHostKeyCheck(text: string): HostKeyCheck {
  if (text === "no") return { mode: "none" };
  if (text === "yes") return { mode: "known_hosts" };
  const [, type, hash] = /^(md5|sha1|sha256):(.*)$/s.exec(text) ?? [];
  if (type === undefined) throw fail(`unknown host_key_check setting (${text})`);
  return { mode: "hash", type: type as "md5", hash: hash! };
}

function needed<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw fail(`Parameter '${name}' is missing`);
  return value;
}

function takeHostKeyCheck(options: Bag): HostKeyCheck {
  const given = take(options, "host-key-check");
  if (given === undefined) return { mode: "known_hosts" };
  if (typeof given !== "object" || given === null) throw fail("Invalid parameter type for 'host-key-check', expected: object");
  const bag = { ...(given as Bag) };
  const mode = needed(takeEnum(bag, "mode", MODES), "host-key-check.mode");
  if (mode !== "hash") return { mode };
  const type = needed(takeEnum(bag, "type", HASHES), "host-key-check.type");
  return { mode, type, hash: needed(takeString(bag, "hash"), "host-key-check.hash") };
}

/** `server`, or `host` and `port` as they were before. */
function takeServer(options: Bag): { host: string; port: number; family: 4 | 6 | null; isNamed: boolean } {
  const given = take(options, "server");
  const host = takeString(options, "host");
  const oldPort = takeString(options, "port");
  if (oldPort !== undefined && !/^[0-9]+$/.test(oldPort)) throw fail("Parameter 'port' expects a number");
  if (host === undefined && oldPort !== undefined) throw fail("port may not be used without host");
  const bag: Bag = {
    ...(typeof given === "object" && given !== null ? (given as Bag) : {}),
    ...(host === undefined ? {} : { host, port: oldPort ?? DEFAULT_PORT }),
  };
  if (given === undefined && host === undefined) throw fail("Parameter 'server' is missing");
  const name = needed(takeString(bag, "host"), "server.host");
  const port = needed(takeString(bag, "port"), "server.port");
  if (!/^[0-9]+$/.test(port)) throw fail("Use only numeric port value");
  if (Number(port) > 65535) throw fail(`'${port}' is no port number`);
  return { host: name, port: Number(port), ...takeFamily(bag) };
}

function takeFile(options: Bag): SshFile {
  const filename = takeString(options, "filename");
  if (filename !== undefined) Object.assign(options, parseUrl(filename));
  const oldCheck = takeString(options, "host_key_check");
  const oldHostKey = oldCheck === undefined ? null : oldHostKeyCheck(oldCheck);
  const { isNamed, ...server } = takeServer(options);
  const path = needed(takeString(options, "path"), "path");
  if (path.includes("\0")) throw fail("The path of a file on an SSH server has no zero bytes");
  const user = takeString(options, "user") ?? loginName();
  const newHostKey = takeHostKeyCheck(options);
  const file = { ...server, path, user, hostKeyCheck: oldHostKey ?? newHostKey };
  return { ...file, url: isNamed ? formatUrl(file, oldCheck) : null };
}

function loginName(): string {
  try {
    return userInfo().username;
  } catch (cause) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "Can't get user name", { cause });
  }
}

function* openFile(environment: Environment, file: SshFile, readOnly: boolean, create: boolean): Op<Storage> {
  const { host, port, family, user, path, hostKeyCheck } = file;
  const where = { host, port, ...(family === null ? {} : { family }) };
  const name = file.url ?? formatUrl(file, undefined);
  const onNoFlush = (): void => {
    environment.warn(`ssh server ${host} does not support fsync`);
    (environment.report ?? environment.warn)("to support fsync, you need OpenSSH >= 6.3");
  };
  return yield* foreign(`Opening '${name}'`, null, () =>
    sshStorage({
      name,
      server: { host, port, user, hostKeyCheck },
      path,
      readOnly,
      create,
      connect: () => connectOrSay(where),
      onNoFlush,
    }),
  );
}

export const ssh: Driver = {
  name: "ssh",
  category: "protocol",
  schemes: ["ssh"],
  runtimeOptions: ["filename", ...OPTIONS],
  strongOptions: ["host", "port", "path", "user", "host_key_check", "server."],
  parseFilename: parseUrl,
  *createFile(environment, filename): Op<Node> {
    return yield* this.createAt!(environment, parseUrl(filename));
  },
  *createAt(environment, location): Op<Node> {
    const file = takeFile({ ...location });
    const node = new Node(environment, ssh, { driver: "ssh", ...location }, { ...READ_WRITE, unmap: true });
    node.givenName = file.url ?? "";
    node.impl = yield* storageImpl(yield* openFile(environment, file, false, true));
    return node;
  },
  *open({ environment, node, options, flags }): Op<StorageImpl> {
    const file = takeFile(options);
    node.givenName = file.url ?? "";
    try {
      return yield* storageImpl(yield* openFile(environment, file, !flags.write, false));
    } catch (error) {
      // auto-read-only: what cannot be written is opened to be read.
      if (flags.autoReadOnly !== true || !flags.write || toBlockError(error).errno !== "EACCES") throw error;
      flags.write = false;
      return yield* storageImpl(yield* openFile(environment, file, true, false));
    }
  },
};
