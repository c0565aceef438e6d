/** The protocols `http` and `https`, with the options of QEMU's curl driver: read-only, by byte ranges (`storage/http.ts`). */
import { encodeText } from "./base/bytes.js";
import { BlockError } from "./base/error.js";
import { parseSize64 } from "./base/size.js";
import type { OpenContext } from "./block/context.js";
import type { Driver } from "./block/driver.js";
import { foreign, type Op } from "./block/op.js";
import { storageImpl } from "./block/protocol.js";
import { take, takeBool, takeSize, takeString } from "./block/take.js";
import { httpStorage, type HttpStorageOptions } from "./storage/http.js";

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

/** Longest `timeout`, in seconds. */
const MAX_TIMEOUT = 10_000;
const SECTOR = 512;

const OPTIONS = [
  "url",
  "filename",
  "readahead",
  "timeout",
  "username",
  "password-secret",
  "proxy-username",
  "proxy-password-secret",
  "cookie",
  "cookie-secret",
] as const;

export interface HttpDriverOptions {
  /** Makes the requests: proxies, other certificates, signing. */
  fetch?: HttpStorageOptions["fetch"];
}

export function httpDrivers(settings: HttpDriverOptions = {}): Driver[] {
  return [httpDriver("http", settings), httpDriver("https", settings)];
}

function httpDriver(name: "http" | "https", settings: HttpDriverOptions): Driver {
  return {
    name,
    category: "protocol",
    schemes: [name],
    runtimeOptions: name === "https" ? [...OPTIONS, "sslverify"] : OPTIONS,
    strongOptions: [
      "url",
      "sslverify",
      "username",
      "password-secret",
      "proxy-username",
      "proxy-password-secret",
      "cookie",
      "cookie-secret",
    ],
    parseFilename(filename) {
      // "…:readahead=64k:" behind a URL, as long ago.
      const [, url = filename, size] = /^(.*):readahead=([^:]*):$/.exec(filename) ?? [];
      if (size === undefined) return { url };
      const parsed = parseSize64(size);
      return { url, readahead: parsed.status === "ok" ? Number(parsed.value) : size };
    },
    exactFilename: (node) => node.givenName,
    *open(context) {
      const { options, flags } = context;
      // 2.2 called it a file name.
      const url = takeString(options, "url") ?? takeString(options, "filename");
      take(options, "filename");
      if (url === undefined) throw fail("curl block driver requires an 'url' option");
      if (!url.startsWith(`${name}://`))
        throw fail(`${name} curl driver cannot handle the URL '${url}' (does not start with '${name}://')`);
      if (flags.write) {
        if (flags.autoReadOnly !== true)
          throw new BlockError("ERR_READ_ONLY", "curl driver does not support writes", { errno: "EACCES" });
        flags.write = false;
      }
      const { readahead, timeout } = takeTuning(options);
      const headers = yield* takeHeaders(context);
      context.node.givenName = url;
      return yield* storageImpl(
        yield* foreign(`Opening '${url}'`, null, () =>
          httpStorage(url, {
            name: url,
            readAhead: readahead,
            stallTimeout: timeout * 1000,
            headers,
            ...(settings.fetch === undefined ? {} : { fetch: settings.fetch }),
          }),
        ),
      );
    },
  };
}

function takeTuning(options: Record<string, unknown>): { readahead: number; timeout: number } {
  const readahead = takeSize(options, "readahead") ?? 256 * 1024;
  if (readahead % SECTOR !== 0) throw fail(`HTTP_READAHEAD size ${readahead} is not a multiple of 512`);
  const timeout = takeSize(options, "timeout") ?? 5;
  if (timeout > MAX_TIMEOUT) throw fail("timeout parameter is too large or negative");
  // Certificates are the platform's business: its fetch checks them always.
  if (takeBool(options, "sslverify") === false) {
    throw new BlockError("ERR_UNSUPPORTED", "sslverify=off is not supported: certificates are always checked", {
      hint: "In Node.js give the certificate authority by NODE_EXTRA_CA_CERTS.",
    });
  }
  for (const name of ["proxy-username", "proxy-password-secret"]) {
    if (take(options, name) !== undefined)
      throw new BlockError("ERR_UNSUPPORTED", `'${name}' is not supported: proxies are those of the platform`);
  }
  // No answer for so long counts as none; 0: wait as long as it takes.
  return { readahead, timeout: timeout === 0 ? MAX_TIMEOUT : timeout };
}

function* takeHeaders({ options, environment }: OpenContext): Op<Record<string, string>> {
  const headers: Record<string, string> = {};
  const secret = function* (id: string): Op<string> {
    const bytes = yield* environment.secrets(id, "open");
    if (bytes === null) throw new BlockError("ERR_NOT_FOUND", `No secret with id '${id}'`, { qmpClass: "GenericError" });
    return new TextDecoder().decode(bytes);
  };
  const cookie = takeString(options, "cookie");
  const cookieSecret = takeString(options, "cookie-secret");
  if (cookie !== undefined && cookieSecret !== undefined) throw fail("curl driver cannot handle both cookie and cookie secret");
  if (cookieSecret !== undefined) headers["Cookie"] = yield* secret(cookieSecret);
  else if (cookie !== undefined) headers["Cookie"] = cookie;
  const username = takeString(options, "username");
  const passwordSecret = takeString(options, "password-secret");
  if (passwordSecret !== undefined && username === undefined) throw fail("Parameter 'username' is missing");
  if (username !== undefined) {
    const password = passwordSecret === undefined ? "" : yield* secret(passwordSecret);
    headers["Authorization"] = `Basic ${btoa(String.fromCharCode(...encodeText(`${username}:${password}`)))}`;
  }
  return headers;
}
