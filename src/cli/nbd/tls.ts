/** `--tls-creds`, `--tls-hostname` and `--tls-authz`. */
import { prefixError } from "../../base/error.js";
import type { Environment } from "../../block/context.js";
import { clientTls, serverTls, type StartTls } from "../../nbd/tls.js";
import type { ParsedOptions } from "../options.js";

function start(parsed: ParsedOptions, make: (id: string) => StartTls): StartTls | undefined {
  const id = parsed.get("tls-creds");
  if (id === undefined) return undefined;
  try {
    return make(id);
  } catch (error) {
    throw prefixError("Failed to get TLS creds: ", error);
  }
}

/** TLS of a client of `host`, as the options say; undefined: none. */
export function clientTlsOf(environment: Environment, parsed: ParsedOptions, host: string | null): StartTls | undefined {
  const find = (id: string): unknown => environment.findObject?.(id);
  return start(parsed, (id) => clientTls(find, id, parsed.get("tls-hostname") ?? host));
}

/** TLS that clients must use, as the options say; undefined: none. */
export function serverTlsOf(environment: Environment, parsed: ParsedOptions): StartTls | undefined {
  const find = (id: string): unknown => environment.findObject?.(id);
  return start(parsed, (id) => serverTls(find, id, parsed.get("tls-authz")));
}
