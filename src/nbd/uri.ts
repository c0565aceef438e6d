/** NBD addresses: URIs (nbd://, nbds://, nbd+unix://) and QEMU's old form nbd:host:port:exportname=NAME. */
import { BlockError } from "../base/error.js";

export interface InetServer {
  type: "inet";
  host: string;
  port: string;
  /** 4 or 6 where only that family of addresses is meant. */
  family?: 4 | 6 | null;
  /** false: a URI does not say all of it. */
  isNamed?: boolean;
}

export interface NbdAddress {
  server: InetServer | { type: "unix"; path: string };
  export: string;
  tls: boolean;
}

const bad = (uri: string, what: string): BlockError =>
  new BlockError("ERR_INVALID_ARGUMENT", `Invalid NBD address '${uri}': ${what}`);
export const DEFAULT_PORT = "10809";

export function parseNbdAddress(text: string): NbdAddress {
  return text.includes("://") ? parseUri(text) : parseOld(text);
}

function parseUri(uri: string): NbdAddress {
  const match = /^(nbds?)(\+tcp|\+unix)?:\/\/([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/.exec(uri);
  if (match === null) throw bad(uri, "it is no nbd URI");
  const [, scheme, transport, authority, path, query] = match;
  let name: string;
  try {
    name = decodeURIComponent(path ?? "");
  } catch (error) {
    throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid NBD address '${uri}': the export name is not valid`, { cause: error });
  }
  const parameters = new URLSearchParams(query ?? "");
  const tls = scheme === "nbds";
  if (transport === "+unix") {
    const socket = parameters.get("socket");
    if (authority !== "" || socket === null) throw bad(uri, "a Unix socket is named by ?socket=PATH and has no host");
    return { server: { type: "unix", path: socket }, export: name, tls };
  }
  if (parameters.size > 0) throw bad(uri, "a TCP address has no parameters");
  const host = /^(\[[^\]]+\]|[^:]*)(?::([0-9]+))?$/.exec(authority!);
  if (host === null) throw bad(uri, "the host is not valid");
  return {
    server: { type: "inet", host: host[1]!.replace(/^\[|\]$/g, "") || "localhost", port: host[2] ?? DEFAULT_PORT },
    export: name,
    tls,
  };
}

function parseOld(text: string): NbdAddress {
  const [address, ...rest] = text.replace(/^nbd:/, "").split(":exportname=");
  const name = rest.join(":exportname=");
  if (address!.startsWith("unix:")) return { server: { type: "unix", path: address!.slice(5) }, export: name, tls: false };
  const match = /^(\[[^\]]+\]|[^:]*):([^:]*)$/.exec(address!);
  if (match === null) throw bad(text, "it names no host and port");
  return { server: { type: "inet", host: match[1]!.replace(/^\[|\]$/g, ""), port: match[2]! }, export: name, tls: false };
}

export function formatNbdUri(address: NbdAddress): string {
  const scheme = address.tls ? "nbds" : "nbd";
  const path = address.export === "" ? "" : `/${encodeURIComponent(address.export)}`;
  if (address.server.type === "unix") return `${scheme}+unix://${path}?socket=${address.server.path}`;
  const { host, port } = address.server;
  return `${scheme}://${host.includes(":") ? `[${host}]` : host}:${port}${path}`;
}
