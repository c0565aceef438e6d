/**
 * An object on an HTTP(S) server as a read-only storage, read by byte ranges (RFC 9110 section 14), asynchronous face only.
 *
 * The version seen first (ETag or Last-Modified, and size) is pinned: when the object changes, reads fail with ERR_CHANGED
 * rather than mix two versions. Failures that may pass (network, 408, 429, 5xx, a stalled or cut answer) are retried a
 * limited number of times, going on where the answer broke off. Small reads go through a block cache with read-ahead.
 */
import { BlockError, toBlockError, type ErrorCode } from "../base/error.js";
import { encodeText } from "../base/bytes.js";
import { BlockCache } from "./shared/block-cache.js";
import { CachedSource, checkCacheOptions, type CacheOptions } from "./shared/cached-source.js";
import { closedError } from "./shared/checks.js";
import { PartsWriter } from "./shared/parts.js";
import {
  parseContentLength,
  parseContentRange,
  parseRetryAfter,
  sameVersion,
  validatorsOf,
  type Validators,
} from "./http-headers.js";
import { checkRedirect, type RedirectPolicy } from "./http-redirect.js";
import type { Storage } from "./storage.js";

export type FetchLike = (url: string, init: RequestInit) => Promise<Response>;

export interface HttpStorageOptions extends CacheOptions {
  /** Makes the requests; the global `fetch` when absent. Signing (S3), proxies and address filters go here. */
  fetch?: FetchLike;
  /** Sent with every request; Authorization and Cookie not to another origin after a redirect. */
  headers?: Record<string, string>;
  /** As in `RequestInit`; left out of requests when absent. */
  credentials?: RequestCredentials;
  /** Ends the storage: reads fail with ERR_ABORTED. */
  signal?: AbortSignal;
  /** Repetitions of a failed request; 4 when absent. */
  retries?: number;
  /** Milliseconds before the first repetition, doubling with each; 250 when absent. */
  retryDelay?: number;
  /** Longest wait in milliseconds before a repetition, also for what the server asks in Retry-After; 10000 when absent. */
  maxRetryDelay?: number;
  /** Milliseconds without a byte after which an answer counts as stalled; 30000 when absent. */
  stallTimeout?: number;
  /** A server without ranges is tolerated for objects of at most this many bytes, read whole; 16 MiB when absent. */
  maxWholeSize?: number;
  /** Most bytes of one request; 4 MiB when absent. */
  maxRequest?: number;
  /** Most requests at a time; 6 when absent. */
  parallel?: number;
  redirects?: RedirectPolicy;
  /** What messages call it; the URL without user name and password. */
  name?: string;
}

const RANGES_UNSUPPORTED = "Server does not support 'range' (byte ranges).";
const MAX_HOPS = 10;

/** A failure that another try may not have. */
class Transient extends Error {
  constructor(
    readonly failure: BlockError,
    readonly waitAtLeast: number | null = null,
  ) {
    super(failure.message);
  }
}

interface Answer {
  response: Response;
  /** The next bytes of the body; null at its end. Transient failures when cut off or stalled. */
  next(): Promise<Uint8Array | null>;
  /** Must be called: ends the body and the stall timer. */
  dispose(): void;
}

class HttpObject {
  readonly counters = { requests: 0, bytes: 0, retries: 0 };
  readonly name: string;
  private readonly original: string;
  private current: string;
  private readonly fetch: FetchLike;
  private readonly headers: Record<string, string>;
  private readonly ending = new AbortController();
  private ended: BlockError | null = null;
  private unlisten = (): void => {};
  /** Set once we know that this runtime hides redirects (browsers). */
  private opaqueRedirects = false;
  size = 0;
  private pinned: Validators = { etag: null, lastModified: null };
  /** The object itself, when the server had to send it whole. */
  whole: Uint8Array | null = null;
  /** Its first bytes, that came with the first answer. */
  head = new Uint8Array(0);

  constructor(
    url: URL,
    private readonly options: HttpStorageOptions,
  ) {
    this.headers = { ...options.headers };
    if (url.username !== "" || url.password !== "") {
      const user = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
      this.headers["Authorization"] ??= `Basic ${btoa(String.fromCharCode(...encodeText(user)))}`;
      url = new URL(url);
      url.username = url.password = "";
    }
    this.original = this.current = url.href;
    this.name = options.name ?? url.href;
    this.fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
    const { signal } = options;
    if (signal !== undefined) {
      const abort = (): void =>
        this.end(new BlockError("ERR_ABORTED", `Reading '${this.name}' was aborted`, { node: this.name, cause: signal.reason }));
      if (signal.aborted) abort();
      else {
        signal.addEventListener("abort", abort, { once: true });
        this.unlisten = () => signal.removeEventListener("abort", abort);
      }
    }
  }

  end(why: BlockError): void {
    if (this.ended !== null) return;
    this.ended = why;
    this.unlisten();
    this.ending.abort(why);
  }

  /** Learns size and version, by a ranged GET: HEAD is refused by many signed URLs and costs a round trip more. */
  async open(firstBytes: number): Promise<void> {
    await this.retrying(async () => {
      const answer = await this.request("GET", { first: 0, last: firstBytes - 1 });
      try {
        const { response } = answer;
        this.pinned = validatorsOf(response.headers);
        if (response.status === 206) await this.openPartial(answer, firstBytes);
        else if (response.status === 200) await this.openWhole(answer);
        else if (response.status === 416) this.openEmpty(response);
        else throw this.statusError(response);
      } finally {
        answer.dispose();
      }
    });
  }

  private async openPartial(answer: Answer, firstBytes: number): Promise<void> {
    const field = answer.response.headers.get("content-range");
    const range = field === null ? null : parseContentRange(field);
    if (range === undefined || (field === null && !hidesHeaders(answer.response))) throw this.rangeError(field);
    if (range?.range === null || (range?.range && (range.range.first !== 0 || range.range.last >= firstBytes)))
      throw this.rangeError(field);
    this.size = range?.total ?? (await this.headSize());
    const head = new Uint8Array(Math.min(this.size, range?.range ? range.range.last + 1 : firstBytes));
    const writer = new PartsWriter([head]);
    await this.drain(answer, writer);
    if (writer.done < writer.total) throw this.cut();
    this.head = head;
  }

  private async openWhole(answer: Answer): Promise<void> {
    const { maxWholeSize = 16 << 20 } = this.options;
    const length = parseContentLength(answer.response.headers.get("content-length"));
    if (length !== null && length > maxWholeSize) throw this.error("ERR_UNSUPPORTED", RANGES_UNSUPPORTED);
    const parts: Uint8Array[] = [];
    let size = 0;
    for (let part = await answer.next(); part !== null; part = await answer.next()) {
      size += part.length;
      if (size > maxWholeSize) throw this.error("ERR_UNSUPPORTED", RANGES_UNSUPPORTED);
      parts.push(part);
    }
    if (length !== null && size !== length) throw this.cut();
    const whole = new Uint8Array(size);
    const writer = new PartsWriter([whole]);
    for (const part of parts) writer.push(part);
    this.whole = whole;
    this.size = size;
  }

  /** No first byte: the object is empty, and the answer says so. */
  private openEmpty(response: Response): void {
    const field = response.headers.get("content-range");
    const range = field === null ? undefined : parseContentRange(field);
    if (range !== undefined ? range.total !== 0 : !hidesHeaders(response)) throw this.rangeError(field);
    this.size = 0;
  }

  private async headSize(): Promise<number> {
    const answer = await this.request("HEAD", null);
    try {
      const { response } = answer;
      if (!response.ok) throw this.statusError(response);
      const length = parseContentLength(response.headers.get("content-length"));
      if (length === null) throw this.error("ERR_UNSUPPORTED", "Server didn't report file size.");
      if (!sameVersion(this.pinned, validatorsOf(response.headers))) throw this.changed();
      return length;
    } finally {
      answer.dispose();
    }
  }

  /** Fills `parts` from `offset` (all inside the object). */
  async read(parts: readonly Uint8Array[], offset: number): Promise<void> {
    const writer = new PartsWriter(parts);
    if (this.whole !== null) {
      writer.push(this.whole.subarray(offset, offset + writer.total));
      return;
    }
    // A server may answer less than was asked; each such answer brings at least a byte, a retry is not counted.
    while (writer.done < writer.total) await this.retrying(() => this.readOnce(writer, offset));
  }

  private async readOnce(writer: PartsWriter, offset: number): Promise<void> {
    const first = offset + writer.done;
    const last = offset + writer.total - 1;
    const answer = await this.request("GET", { first, last });
    try {
      const { response } = answer;
      if (response.status === 416) throw this.changed();
      if (response.status !== 206 && response.status !== 200) throw this.statusError(response);
      if (!sameVersion(this.pinned, validatorsOf(response.headers))) throw this.changed();
      const expected =
        response.status === 206 ? this.checkPartial(response, first, last) : this.checkWhole(response, first, last);
      const before = writer.done;
      await this.drain(answer, writer);
      if (writer.done - before !== expected) throw this.cut();
    } finally {
      answer.dispose();
    }
  }

  /** How many bytes the answer must have. */
  private checkPartial(response: Response, first: number, last: number): number {
    const field = response.headers.get("content-range");
    if (field === null && hidesHeaders(response)) return last - first + 1;
    const found = field === null ? undefined : parseContentRange(field);
    if (!found?.range || found.range.first !== first || found.range.last > last) throw this.rangeError(field);
    if (found.total !== null && found.total !== this.size) throw this.changed();
    return found.range.last - first + 1;
  }

  private checkWhole(response: Response, first: number, last: number): number {
    const length = parseContentLength(response.headers.get("content-length"));
    if (length !== null && length !== this.size) throw this.changed();
    // With If-Range, the whole object instead of a part means: not the version that was asked for.
    if (first !== 0 || last !== this.size - 1)
      throw this.pinned.etag === null ? this.error("ERR_UNSUPPORTED", RANGES_UNSUPPORTED) : this.changed();
    return this.size;
  }

  private async drain(answer: Answer, writer: PartsWriter): Promise<void> {
    for (let bytes = await answer.next(); bytes !== null; bytes = await answer.next()) {
      if (!writer.push(bytes)) throw this.error("ERR_IO", "The server sent more than was asked for");
    }
  }

  private async request(method: string, range: { first: number; last: number } | null): Promise<Answer> {
    if (this.ended !== null) throw this.ended;
    // Otherwise a server may compress, and ranges would be those of the compressed form. (Browsers see to it themselves.)
    const headers: Record<string, string> = { ...this.headers, "Accept-Encoding": "identity" };
    if (range !== null) {
      headers["Range"] = `bytes=${range.first}-${range.last}`;
      const { etag } = this.pinned;
      // Weak validators are not allowed there; across origins the field would cost browsers a preflight.
      if (etag !== null && !etag.startsWith("W/") && !this.crossOrigin()) headers["If-Range"] = etag;
    }
    const attempt = new AbortController();
    const stop = (): void => attempt.abort(this.ended);
    this.ending.signal.addEventListener("abort", stop, { once: true });
    const { stallTimeout = 30000 } = this.options;
    let stalled = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const wind = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        stalled = true;
        attempt.abort();
      }, stallTimeout);
    };
    const translate = (error: unknown): unknown => {
      if (this.ended !== null) return this.ended;
      if (stalled) return new Transient(this.error("ERR_TIMEOUT", `No data for ${stallTimeout / 1000} s`, error));
      if (error instanceof BlockError || error instanceof Transient) return error;
      return new Transient(this.networkError(error));
    };
    let reader: ReadableStreamDefaultReader<Uint8Array> | null = null;
    const dispose = (): void => {
      clearTimeout(timer);
      this.ending.signal.removeEventListener("abort", stop);
      // Tells the connection that the rest is not wanted; harmless at the end of a body.
      reader?.cancel().catch(() => {});
      attempt.abort();
    };
    wind();
    try {
      const response = await this.follow(method, headers, attempt.signal);
      reader = (response.body?.getReader() as ReadableStreamDefaultReader<Uint8Array> | undefined) ?? null;
      const encoding = response.headers.get("content-encoding");
      if (response.ok && encoding !== null && encoding.trim() !== "" && encoding.trim().toLowerCase() !== "identity") {
        throw this.error(
          "ERR_UNSUPPORTED",
          `The server sends the object in content encoding '${encoding}', whose ranges are not the image's`,
        );
      }
      const next = async (): Promise<Uint8Array | null> => {
        if (reader === null) return null;
        try {
          wind();
          const { done, value } = await reader.read();
          if (done) return null;
          this.counters.bytes += value.length;
          return value;
        } catch (error) {
          throw translate(error);
        }
      };
      return { response, next, dispose };
    } catch (error) {
      dispose();
      throw translate(error);
    }
  }

  /** One request with its redirects, each of them checked. */
  private async follow(method: string, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
    const { redirects = "follow", credentials } = this.options;
    for (let hop = 0; hop <= MAX_HOPS; hop++) {
      const from = new URL(this.current);
      const away = from.origin !== new URL(this.original).origin;
      const sent = away ? withoutSecrets(headers) : headers;
      const init: RequestInit = {
        method,
        headers: sent,
        signal,
        redirect: this.opaqueRedirects && redirects !== "error" ? "follow" : "manual",
      };
      if (credentials !== undefined) init.credentials = credentials;
      this.counters.requests++;
      const response = await this.fetch(this.current, init);
      if (response.type === "opaqueredirect") {
        if (redirects === "error") throw this.error("ERR_DENIED", "redirects are switched off");
        // A browser does not show the target before having gone there; it can only be judged afterwards.
        this.opaqueRedirects = true;
        continue;
      }
      if (this.opaqueRedirects && response.redirected && response.url !== "") {
        const to = new URL(response.url);
        if (to.href !== from.href) checkRedirect(redirects, from, to, this.name);
        this.current = to.href;
      }
      const target = [301, 302, 303, 307, 308].includes(response.status) ? response.headers.get("location") : null;
      if (target === null) {
        // The remembered target of an earlier redirect, which expires if it is signed: the original address leads to a new one.
        if (hop === 0 && this.current !== this.original && [401, 403, 404, 410].includes(response.status)) {
          response.body?.cancel().catch(() => {});
          this.current = this.original;
          continue;
        }
        return response;
      }
      response.body?.cancel().catch(() => {});
      let to: URL;
      try {
        to = new URL(target, from);
      } catch {
        throw this.error("ERR_IO", "The server redirects to something that is no URL");
      }
      checkRedirect(redirects, from, to, this.name);
      to.username = to.password = "";
      this.current = to.href;
    }
    this.current = this.original;
    throw this.error("ERR_IO", "Too many redirects");
  }

  private async retrying(work: () => Promise<void>): Promise<void> {
    const { retries = 4, retryDelay = 250, maxRetryDelay = 10000 } = this.options;
    for (let attempt = 0; ; attempt++) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof Transient)) throw error;
        if (attempt >= retries) throw error.failure;
        // Half of it by chance, so that many clients do not come back at the same moment.
        const backoff = retryDelay * 2 ** attempt * (0.5 + Math.random() / 2);
        await this.sleep(Math.min(maxRetryDelay, Math.max(backoff, error.waitAtLeast ?? 0)));
        this.counters.retries++;
      }
    }
  }

  private sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.ended !== null) return reject(this.ended);
      const stop = (): void => {
        clearTimeout(timer);
        reject(this.ended);
      };
      const timer = setTimeout(() => {
        this.ending.signal.removeEventListener("abort", stop);
        resolve();
      }, milliseconds);
      this.ending.signal.addEventListener("abort", stop, { once: true });
    });
  }

  /** A web page reading from another origin. */
  private crossOrigin(): boolean {
    const { location } = globalThis as { location?: { origin?: string; protocol?: string } };
    return (
      location?.origin !== undefined &&
      location.protocol?.startsWith("http") === true &&
      new URL(this.current).origin !== location.origin
    );
  }

  private error(code: ErrorCode, message: string, cause?: unknown): BlockError {
    return new BlockError(code, `Could not read '${this.name}': ${message}`, { node: this.name, operation: "read", cause });
  }

  private changed(): BlockError {
    return new BlockError("ERR_CHANGED", `'${this.name}' has changed on the server since it was opened`, {
      node: this.name,
      operation: "read",
    });
  }

  private rangeError(field: string | null): BlockError {
    return this.error(
      "ERR_IO",
      field === null
        ? "The server does not say which range it sends"
        : `The server sends another range than asked ('${field.slice(0, 80)}')`,
    );
  }

  private cut(): Transient {
    return new Transient(this.error("ERR_IO", "The answer ended too early"));
  }

  private networkError(error: unknown): BlockError {
    // Node hides the system error one or two causes deep.
    let found: unknown = error;
    let message = String(error);
    for (let depth = 0; depth < 4; depth++) {
      if (found instanceof Error && found.message !== "") message = found.message;
      const inner = toBlockError(found);
      if (inner.errno !== "EIO")
        return new BlockError(inner.code, `Could not read '${this.name}': ${inner.message}`, {
          errno: inner.errno,
          node: this.name,
          operation: "read",
          cause: error,
        });
      found = (found as { cause?: unknown } | null)?.cause;
      if (found === undefined || found === null) break;
    }
    return this.error("ERR_IO", message, error);
  }

  private statusError(response: Response): BlockError | Transient {
    const { status, statusText } = response;
    const message = `The requested URL returned error: ${status}${statusText === "" ? "" : ` ${statusText}`}`;
    if (status === 408 || status === 429 || status >= 500) {
      return new Transient(this.error("ERR_IO", message), parseRetryAfter(response.headers.get("retry-after"), Date.now()));
    }
    const code: ErrorCode =
      status === 404 || status === 410 ? "ERR_NOT_FOUND" : status === 401 || status === 403 ? "ERR_PERMISSION" : "ERR_IO";
    return this.error(code, message);
  }
}

/** A cross-origin answer in a browser, whose Content-Range is seen only if the server exposes it. */
function hidesHeaders(response: Response): boolean {
  return response.type === "cors";
}

function withoutSecrets(headers: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => !/^(authorization|cookie|proxy-authorization)$/i.test(name)),
  );
}

/**
 * Opens an object by its URL.
 *
 * @throws BlockError ERR_NOT_FOUND, ERR_PERMISSION, ERR_IO, ERR_TIMEOUT; ERR_UNSUPPORTED for a server without ranges (and an
 * object above `maxWholeSize`) or with a content encoding; ERR_DENIED for a redirect the policy forbids; ERR_ABORTED
 */
export async function httpStorage(url: string | URL, options: HttpStorageOptions = {}): Promise<Storage> {
  const { blockSize, budget, readAhead } = checkCacheOptions(options, 16 << 20, 2 << 20);
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch (cause) {
    throw new BlockError("ERR_INVALID_ARGUMENT", `'${String(url)}' is not a URL`, { cause });
  }
  if (parsed.protocol !== "http:" && parsed.protocol !== "https:") {
    throw new BlockError("ERR_INVALID_ARGUMENT", `'${parsed.href}' is not an http or https URL`);
  }
  const { retries = 4, parallel = 6, maxRequest = 4 << 20 } = options;
  if (!(retries >= 0) || !(parallel >= 1) || !(maxRequest >= blockSize)) {
    throw new BlockError(
      "ERR_INVALID_ARGUMENT",
      "retries must be at least 0, parallel at least 1, maxRequest at least blockSize",
    );
  }
  const object = new HttpObject(parsed, options);
  try {
    await object.open(blockSize);
  } catch (error) {
    object.end(closedError(object.name, "open"));
    throw error;
  }
  const cache = new BlockCache({
    size: object.size,
    blockSize,
    budget,
    readAhead,
    maxRequest,
    parallel,
    fetch: (parts, offset) => object.read(parts, offset),
  });
  cache.preload(object.head, 0);
  const { counters } = object;
  const statistics = {
    get requests(): number {
      return counters.requests;
    },
    get bytes(): number {
      return counters.bytes;
    },
    get retries(): number {
      return counters.retries;
    },
    get hits(): number {
      return cache.statistics.hits;
    },
    get misses(): number {
      return cache.statistics.misses;
    },
    get readAhead(): number {
      return cache.statistics.readAhead;
    },
  };
  return new CachedSource({
    kind: "http",
    name: object.name,
    size: object.size,
    cache,
    statistics,
    onClose: () => object.end(closedError(object.name, "read")),
  });
}
