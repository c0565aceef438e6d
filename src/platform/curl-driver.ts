/** What the protocols of QEMU's curl driver have in common: http, https, ftp, ftps, tftp. Read-only, opened by a URL. */
import { BlockError } from "../base/error.js";
import { decodeText } from "../base/bytes.js";
import { parseSize64 } from "../base/size.js";
import type { OpenContext } from "../block/context.js";
import type { Driver } from "../block/driver.js";
import { foreign, type Op } from "../block/op.js";
import { storageImpl } from "../block/protocol.js";
import { take, takeSize, takeString } from "../block/take.js";
import type { Storage } from "../storage/storage.js";

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
] as const;

export interface CurlRequest {
  url: string;
  /** Bytes to read ahead. */
  readAhead: number;
  /** How long a server may be silent, in ms. */
  timeout: number;
  credentials: { username: string; password: string } | null;
}

export interface CurlProtocol<T> {
  name: string;
  /** Options beyond those that all have. */
  options: readonly string[];
  /** Takes those. */
  take(context: OpenContext): Op<T>;
  open(request: CurlRequest, more: T): Promise<Storage>;
}

export function curlDriver<T>(protocol: CurlProtocol<T>): Driver {
  const { name } = protocol;
  const runtimeOptions = [...OPTIONS, ...protocol.options];
  return {
    name,
    category: "protocol",
    schemes: [name],
    runtimeOptions,
    strongOptions: runtimeOptions.filter((option) => !["filename", "readahead", "timeout"].includes(option)),
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
      const tuning = takeTuning(options);
      const more = yield* protocol.take(context);
      const credentials = yield* takeCredentials(context);
      context.node.givenName = url;
      const request: CurlRequest = { url, ...tuning, credentials };
      return yield* storageImpl(yield* foreign(`Opening '${url}'`, null, () => protocol.open(request, more)));
    },
  };
}

function takeTuning(options: Record<string, unknown>): { readAhead: number; timeout: number } {
  const readAhead = takeSize(options, "readahead") ?? 256 * 1024;
  if (readAhead % SECTOR !== 0) throw fail(`HTTP_READAHEAD size ${readAhead} is not a multiple of 512`);
  const timeout = takeSize(options, "timeout") ?? 5;
  if (timeout > MAX_TIMEOUT) throw fail("timeout parameter is too large or negative");
  for (const name of ["proxy-username", "proxy-password-secret"]) {
    if (take(options, name) !== undefined)
      throw new BlockError("ERR_UNSUPPORTED", `'${name}' is not supported: proxies are those of the platform`);
  }
  // No answer for so long counts as none; 0: wait as long as it takes.
  return { readAhead, timeout: (timeout === 0 ? MAX_TIMEOUT : timeout) * 1000 };
}

function* takeCredentials(context: OpenContext): Op<CurlRequest["credentials"]> {
  const username = takeString(context.options, "username");
  const id = takeString(context.options, "password-secret");
  if (id !== undefined && username === undefined) throw fail("Parameter 'username' is missing");
  if (username === undefined) return null;
  return { username, password: id === undefined ? "" : yield* secretText(context, id) };
}

export function* secretText({ environment }: OpenContext, id: string): Op<string> {
  const bytes = yield* environment.secrets(id, "open");
  if (bytes === null) throw new BlockError("ERR_NOT_FOUND", `No secret with id '${id}'`, { qmpClass: "GenericError" });
  return decodeText(bytes);
}
