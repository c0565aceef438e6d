/** The protocols `http` and `https`, with the options of QEMU's curl driver: read-only, by byte ranges (`storage/http.ts`). */
import { encodeText } from "../base/bytes.js";
import { BlockError } from "../base/error.js";
import type { OpenContext } from "../block/context.js";
import type { Driver } from "../block/driver.js";
import type { Op } from "../block/op.js";
import { takeBool, takeString } from "../block/take.js";
import { curlDriver, secretText } from "./curl-driver.js";
import { httpStorage, type HttpStorageOptions } from "../storage/http.js";

export interface HttpDriverOptions {
  /** Makes the requests: proxies, other certificates, signing. */
  fetch?: HttpStorageOptions["fetch"];
}

export function httpDrivers(settings: HttpDriverOptions = {}): Driver[] {
  return [httpDriver("http", settings), httpDriver("https", settings)];
}

function httpDriver(name: "http" | "https", settings: HttpDriverOptions): Driver {
  return curlDriver({
    name,
    options: ["cookie", "cookie-secret", ...(name === "https" ? ["sslverify"] : [])],
    take: takeCookie,
    open({ url, readAhead, timeout, credentials }, cookie) {
      const headers: Record<string, string> = cookie === undefined ? {} : { Cookie: cookie };
      if (credentials !== null) {
        const user = `${credentials.username}:${credentials.password}`;
        headers["Authorization"] = `Basic ${btoa(String.fromCharCode(...encodeText(user)))}`;
      }
      return httpStorage(url, {
        name: url,
        readAhead,
        stallTimeout: timeout,
        headers,
        ...(settings.fetch === undefined ? {} : { fetch: settings.fetch }),
      });
    },
  });
}

function* takeCookie(context: OpenContext): Op<string | undefined> {
  const { options } = context;
  // Certificates are the platform's business: its fetch checks them always.
  if (takeBool(options, "sslverify") === false) {
    throw new BlockError("ERR_UNSUPPORTED", "sslverify=off is not supported: certificates are always checked", {
      hint: "In Node.js give the certificate authority by NODE_EXTRA_CA_CERTS.",
    });
  }
  const cookie = takeString(options, "cookie");
  const secret = takeString(options, "cookie-secret");
  if (cookie !== undefined && secret !== undefined)
    throw new BlockError("ERR_INVALID_ARGUMENT", "curl driver cannot handle both cookie and cookie secret");
  return secret === undefined ? cookie : yield* secretText(context, secret);
}
