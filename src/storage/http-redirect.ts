/** Which redirects an HTTP storage follows: an image server must not be able to point us at places it cannot reach itself. */
import { BlockError } from "../base/error.js";

/**
 * "follow": to any http(s) URL, but never from https to http, nor from a public host to a private or loopback address;
 * "same-origin"; "error": none; or a function that decides (protocols other than http(s) are refused before it is asked).
 */
export type RedirectPolicy = "follow" | "same-origin" | "error" | ((from: URL, to: URL) => boolean);

/** @throws BlockError ERR_DENIED if the policy does not allow it */
export function checkRedirect(policy: RedirectPolicy, from: URL, to: URL, name: string): void {
  const denied = (why: string): BlockError =>
    new BlockError("ERR_DENIED", `'${name}' redirects to '${to.origin === "null" ? to.protocol : to.origin}': ${why}`, {
      node: name,
      operation: "open",
    });
  if (to.protocol !== "http:" && to.protocol !== "https:") throw denied("only http and https are followed");
  if (policy === "error") throw denied("redirects are switched off");
  if (policy === "same-origin" && to.origin !== from.origin) throw denied("another origin is not allowed");
  if (typeof policy === "function") {
    if (!policy(from, to)) throw denied("not allowed");
    return;
  }
  if (from.protocol === "https:" && to.protocol === "http:") throw denied("from https to http");
  if (isPrivateHost(to.hostname) && !isPrivateHost(from.hostname)) throw denied("a private address");
}

/**
 * Literal addresses and names that mean this machine or its local network. Names that merely resolve there are not seen:
 * that is for the `fetch` given.
 */
export function isPrivateHost(hostname: string): boolean {
  const host = hostname.toLowerCase().replace(/\.$/, "");
  if (host === "localhost" || host.endsWith(".localhost") || host.endsWith(".local") || host.endsWith(".internal")) return true;
  // URL parsing has already brought every notation of an IPv4 address into four decimal numbers.
  const v4 = /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(host);
  if (v4 !== null) return isPrivateV4(Number(v4[1]), Number(v4[2]));
  if (!host.startsWith("[")) return false;
  const v6 = host.slice(1, -1);
  if (v6 === "::" || v6 === "::1" || /^(fc|fd|fe[89ab])/.test(v6)) return true;
  const mapped = /^::ffff:([0-9a-f]+):[0-9a-f]+$/.exec(v6);
  if (mapped === null) return false;
  const high = parseInt(mapped[1]!, 16);
  return isPrivateV4(high >> 8, high & 255);
}

function isPrivateV4(a: number, b: number): boolean {
  return (
    a === 0 ||
    a === 10 ||
    a === 127 ||
    (a === 169 && b === 254) ||
    (a === 172 && b >= 16 && b < 32) ||
    (a === 192 && b === 168) ||
    (a === 100 && b >= 64 && b < 128)
  );
}
