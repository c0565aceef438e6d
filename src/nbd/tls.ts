/**
 * TLS for NBD, as far as it is the same everywhere: credentials are objects (`tls-creds-x509`, `-psk`, `-anon`) that a platform
 * makes, and a connection continues encrypted through them.
 */
import { BlockError } from "../base/error.js";
import { Authorization } from "./authorization.js";
import type { Duplex } from "./duplex.js";

/**
 * Continues a connection with TLS; rejects when the peers do not agree or trust each other, and when the other side has said
 * more in the clear than was read. `lastWords` is what a server still says in the clear: only after them may the client go on.
 */
export type StartTls = (duplex: Duplex, lastWords: readonly Uint8Array[]) => Promise<Duplex>;

export abstract class TlsCredentials {
  /** Which side of a connection they are for. */
  abstract readonly endpoint: "client" | "server";
  /** Whether the client checks the server against its host name. */
  abstract readonly needsHostname: boolean;
  /** @param hostname what the server's certificate is to be for */
  abstract connect(duplex: Duplex, hostname: string): Promise<Duplex>;
  /** @param authorize decides by the client's distinguished name, after its certificate was found valid */
  abstract accept(
    duplex: Duplex,
    lastWords: readonly Uint8Array[],
    authorize: ((identity: string) => boolean) | null,
  ): Promise<Duplex>;
}

/** Objects by id: undefined where there is none. */
export type FindObject = (id: string) => unknown;

function credentials(find: FindObject, id: string, endpoint: TlsCredentials["endpoint"]): TlsCredentials {
  const found = find(id);
  if (found === undefined) throw new BlockError("ERR_NOT_FOUND", `No TLS credentials with id '${id}'`);
  if (!(found instanceof TlsCredentials))
    throw new BlockError("ERR_INVALID_ARGUMENT", `Object with id '${id}' is not TLS credentials`);
  if (found.endpoint !== endpoint)
    throw new BlockError("ERR_INVALID_ARGUMENT", `Expected TLS credentials for a ${endpoint} endpoint`);
  return found;
}

/** What a client does with the credentials `id`. */
export function clientTls(find: FindObject, id: string, hostname: string | null): StartTls {
  const found = credentials(find, id, "client");
  return (duplex) => {
    if (hostname === null && found.needsHostname)
      return Promise.reject(new BlockError("ERR_INVALID_ARGUMENT", "No hostname for certificate validation"));
    return found.connect(duplex, hostname ?? "");
  };
}

/** What a server does with the credentials `id`; the object `authz` is looked up when a client comes, as QEMU does. */
export function serverTls(find: FindObject, id: string, authz: string | undefined): StartTls {
  const found = credentials(find, id, "server");
  if (authz === undefined) return (duplex, lastWords) => found.accept(duplex, lastWords, null);
  return (duplex, lastWords) =>
    found.accept(duplex, lastWords, (identity) => {
      const list = find(authz);
      if (!(list instanceof Authorization)) throw new BlockError("ERR_NOT_FOUND", `Unable to find authz object '${authz}'`);
      return list.allows(identity);
    });
}
