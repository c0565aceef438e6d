/** TLS credentials on Node: files laid out as QEMU (and libvirt) has them, used with Node's own TLS. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Socket } from "node:net";
import type { ConnectionOptions, PeerCertificate, TlsOptions, TLSSocket } from "node:tls";
import { BlockError } from "../base/error.js";
import { decodeText } from "../base/bytes.js";
import { takeBool, takeEnum, takeString } from "../block/take.js";
import type { Duplex } from "./duplex.js";
import { SocketDuplex, socketDuplex } from "./node-socket.js";
import { TlsCredentials } from "./tls.js";

/** Loaded with the first use: programs that know TLS but do not use it start faster. */
const tls = (): typeof import("node:tls") => process.getBuiltinModule("node:tls");
const crypto = (): typeof import("node:crypto") => process.getBuiltinModule("node:crypto");

export type FindSecret = (id: string) => Uint8Array | null;
/** What Node is given to make either side of a connection. */
type Material = Pick<
  ConnectionOptions & TlsOptions,
  "ca" | "cert" | "key" | "crl" | "passphrase" | "ciphers" | "dhparam" | "minVersion" | "maxVersion"
> & {
  /** The key of a user, and who the client is. */
  psk?: { keys: ReadonlyMap<string, Buffer>; username: string };
};

/** Ciphers without certificates need a lower level of what OpenSSL calls security; anonymous ones are TLS 1.2 at most. */
const ANONYMOUS: Material = { ciphers: "ADH:AECDH:@SECLEVEL=0", maxVersion: "TLSv1.2", dhparam: "auto" };
const PSK_CIPHERS =
  "ECDHE-PSK-CHACHA20-POLY1305:PSK+AESGCM:PSK+AES:TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";

class NodeTlsCredentials extends TlsCredentials {
  readonly endpoint: "client" | "server";
  readonly needsHostname: boolean;
  readonly #material: Material;
  /** Peers must have a certificate of a known authority. */
  readonly #verify: boolean;

  constructor(endpoint: "client" | "server", material: Material, verify: boolean) {
    super();
    this.endpoint = endpoint;
    this.#material = material;
    this.#verify = verify;
    this.needsHostname = verify && endpoint === "client";
  }

  async connect(duplex: Duplex, hostname: string): Promise<Duplex> {
    const { psk, ...material } = this.#material;
    const secure = tls().connect({
      ...material,
      socket: takeSocket(duplex),
      host: hostname,
      ...(hostname === "" || /^[0-9.]+$|:/.test(hostname) ? {} : { servername: hostname }),
      // Judged below, in words that name the reason.
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
      ...(psk === undefined ? {} : { pskCallback: () => ({ identity: psk.username, psk: psk.keys.get(psk.username)! }) }),
    });
    await handshake(secure, "secureConnect");
    try {
      if (this.#verify) checkServer(secure, hostname);
    } catch (error) {
      secure.destroy();
      throw error;
    }
    return socketDuplex(secure);
  }

  async accept(
    duplex: Duplex,
    lastWords: readonly Uint8Array[],
    authorize: ((identity: string) => boolean) | null,
  ): Promise<Duplex> {
    const { psk, ...material } = this.#material;
    const server = tls().createServer({
      ...material,
      requestCert: this.#verify,
      rejectUnauthorized: false,
      ...(psk === undefined ? {} : { pskCallback: (_socket: TLSSocket, identity: string) => psk.keys.get(identity) ?? null }),
    });
    const socket = takeSocket(duplex);
    for (const part of lastWords) socket.write(part);
    const secure = await new Promise<TLSSocket>((resolve, reject) => {
      server.once("secureConnection", resolve);
      server.once("tlsClientError", (error) => reject(failed(error)));
      socket.once("close", () => reject(failed(new Error("The TLS connection was non-properly terminated."))));
      server.emit("connection", socket);
    });
    try {
      if (this.#verify) checkClient(secure, authorize);
    } catch (error) {
      secure.destroy();
      throw error;
    }
    return socketDuplex(secure);
  }
}

function takeSocket(duplex: Duplex): Socket {
  if (!(duplex instanceof SocketDuplex))
    throw new BlockError("ERR_UNSUPPORTED", "TLS is not possible on this kind of connection");
  const socket = duplex.release();
  // What was said in the clear must not be taken for something that came encrypted (CVE-2021-3716).
  if (socket === null) throw new BlockError("ERR_IO", "The peer sent data ahead of the TLS handshake", { errno: "EINVAL" });
  return socket;
}

function failed(error: Error): BlockError {
  // OpenSSL's own message names files and lines of its source.
  const { reason = error.message } = error as { reason?: string };
  return new BlockError("ERR_IO", `TLS handshake failed: ${reason.trim()}`, { errno: "EIO", cause: error });
}

function handshake(secure: TLSSocket, event: "secureConnect"): Promise<void> {
  return new Promise((resolve, reject) => {
    secure.once(event, resolve);
    secure.once("error", (error) => reject(failed(error)));
    secure.once("close", () => reject(failed(new Error("The TLS connection was non-properly terminated."))));
  });
}

// ---- verification ---------------------------------------------------------------------------------------------------

const VERDICTS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "The certificate has expired",
  CERT_NOT_YET_VALID: "The certificate is not yet activated",
  CERT_REVOKED: "The certificate has been revoked",
};

function verdict(secure: TLSSocket): string | null {
  if (secure.authorized) return null;
  const reason = secure.authorizationError as unknown;
  const code = reason instanceof Error ? ((reason as { code?: string }).code ?? reason.message) : String(reason ?? "");
  return VERDICTS[code] ?? "The certificate hasn't got a known issuer";
}

function checkServer(secure: TLSSocket, hostname: string): void {
  const wrong = verdict(secure);
  if (wrong !== null) throw new BlockError("ERR_PERMISSION", wrong, { errno: "EPERM" });
  const certificate: PeerCertificate = secure.getPeerCertificate();
  if (tls().checkServerIdentity(hostname, certificate) !== undefined)
    throw new BlockError("ERR_PERMISSION", `Certificate does not match the hostname ${hostname}`, { errno: "EPERM" });
}

function checkClient(secure: TLSSocket, authorize: ((identity: string) => boolean) | null): void {
  const certificate = secure.getPeerX509Certificate();
  if (certificate === undefined) throw new BlockError("ERR_PERMISSION", "Verify failed: No certificate was found.");
  const wrong = verdict(secure);
  if (wrong !== null) throw new BlockError("ERR_PERMISSION", wrong);
  if (authorize === null) return;
  const identity = distinguishedName(certificate.subject);
  if (!authorize(identity)) throw new BlockError("ERR_PERMISSION", `TLS x509 authz check for ${identity} is denied`);
}

/** The parts of the name in the order of the certificate, as GnuTLS shows them: "C=GB,O=Example,CN=laptop". */
function distinguishedName(subject: string): string {
  return subject
    .split("\n")
    .filter((part) => part !== "")
    .join(",");
}

// ---- files ----------------------------------------------------------------------------------------------------------

/** `tls-creds-x509`, `tls-creds-psk`, `tls-creds-anon`. Takes what it knows out of `bag`. */
export function makeTlsCredentials(type: string, bag: Record<string, unknown>, findSecret: FindSecret): NodeTlsCredentials {
  const endpoint = takeEnum(bag, "endpoint", ["client", "server"]) ?? "client";
  const dir = takeString(bag, "dir");
  const verify = takeBool(bag, "verify-peer") ?? true;
  const priority = takeString(bag, "priority");
  if (priority !== undefined && priority !== "NORMAL")
    throw new BlockError("ERR_UNSUPPORTED", "'priority' is a language of GnuTLS that is not understood here: leave it out");
  if (type === "tls-creds-anon") return new NodeTlsCredentials(endpoint, ANONYMOUS, false);
  if (dir === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", "Missing 'dir' property value");
  if (type === "tls-creds-psk") {
    const material = pskMaterial(dir, endpoint, takeString(bag, "username") ?? "qemu");
    return new NodeTlsCredentials(endpoint, material, false);
  }
  const sane = takeBool(bag, "sanity-check") ?? true;
  const password = takeString(bag, "passwordid");
  const material = x509Material(dir, endpoint, password, findSecret);
  if (sane) checkFiles(dir, endpoint, material);
  return new NodeTlsCredentials(endpoint, material, verify);
}

/** The usual authorities, for `nbds://` without credentials of its own. */
export function systemTls(): NodeTlsCredentials {
  return new NodeTlsCredentials("client", {}, true);
}

/** Credentials are small; anything else is not read. */
const MAX_FILE = 1024 * 1024;

function load(dir: string, name: string, required: true): Buffer;
function load(dir: string, name: string, required: false): Buffer | undefined;
function load(dir: string, name: string, required: boolean): Buffer | undefined {
  const path = join(dir, name);
  try {
    if (statSync(path).size > MAX_FILE) throw new BlockError("ERR_TOO_LARGE", `'${path}' is too large for credentials`);
    return readFileSync(path);
  } catch (error) {
    if (error instanceof BlockError) throw error;
    const missing = (error as { code?: string }).code === "ENOENT";
    if (missing && !required) return undefined;
    const why = missing ? "No such file or directory" : (error as Error).message;
    throw new BlockError("ERR_NOT_FOUND", `Unable to access credentials ${path}: ${why}`, { cause: error });
  }
}

function x509Material(
  dir: string,
  endpoint: "client" | "server",
  password: string | undefined,
  findSecret: FindSecret,
): Material {
  const ca = load(dir, "ca-cert.pem", true);
  const crl = load(dir, "ca-crl.pem", false);
  const isServer = endpoint === "server";
  const cert = isServer ? load(dir, "server-cert.pem", true) : load(dir, "client-cert.pem", false);
  const key = isServer ? load(dir, "server-key.pem", true) : load(dir, "client-key.pem", false);
  const dhparam = isServer ? load(dir, "dh-params.pem", false) : undefined;
  let passphrase: string | undefined;
  if (password !== undefined) {
    const secret = findSecret(password);
    if (secret === null) throw new BlockError("ERR_NOT_FOUND", `No secret with id '${password}'`);
    passphrase = decodeText(secret);
  }
  return {
    ca,
    ...(crl === undefined ? {} : { crl }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
    ...(dhparam === undefined ? {} : { dhparam }),
    ...(passphrase === undefined ? {} : { passphrase }),
  };
}

/** Finds at the start what would else be found by the first peer. */
function checkFiles(dir: string, endpoint: string, material: Material): void {
  const path = join(dir, `${endpoint}-cert.pem`);
  try {
    tls().createSecureContext(material);
  } catch (error) {
    throw new BlockError("ERR_INVALID_ARGUMENT", `Unable to use the credentials in ${dir}: ${(error as Error).message}`, {
      cause: error,
    });
  }
  const authority = new (crypto().X509Certificate)(material.ca as Buffer);
  checkDates(authority, join(dir, "ca-cert.pem"));
  if (material.cert === undefined) return;
  const own = new (crypto().X509Certificate)(material.cert as Buffer);
  checkDates(own, path);
  const isChain = (material.cert as Buffer).indexOf("BEGIN CERTIFICATE", 32) >= 0;
  if (!isChain && !own.checkIssued(authority) && (material.ca as Buffer).indexOf("BEGIN CERTIFICATE", 32) < 0) {
    throw new BlockError(
      "ERR_INVALID_ARGUMENT",
      `Our own certificate ${path} failed validation against ${join(dir, "ca-cert.pem")}: The certificate hasn't got a known issuer`,
    );
  }
}

function checkDates(certificate: { validFrom: string; validTo: string }, path: string): void {
  const now = Date.now();
  if (now > Date.parse(certificate.validTo)) throw new BlockError("ERR_INVALID_ARGUMENT", `The certificate ${path} has expired`);
  if (now < Date.parse(certificate.validFrom))
    throw new BlockError("ERR_INVALID_ARGUMENT", `The certificate ${path} is not yet active`);
}

/** `keys.psk`: a user and a key in hexadecimal to a line, as `psktool` writes it. */
function pskMaterial(dir: string, endpoint: "client" | "server", username: string): Material {
  const keys = new Map<string, Buffer>();
  for (const line of load(dir, "keys.psk", true).toString("utf8").split(/\r?\n/)) {
    const at = line.lastIndexOf(":");
    const key = line.slice(at + 1).trim();
    if (at > 0 && /^(?:[0-9a-fA-F]{2})+$/.test(key)) keys.set(line.slice(0, at), Buffer.from(key, "hex"));
  }
  if (endpoint === "client" && !keys.has(username))
    throw new BlockError("ERR_NOT_FOUND", `Username ${username} not found in ${join(dir, "keys.psk")}`);
  return { ciphers: PSK_CIPHERS, psk: { keys, username } };
}
