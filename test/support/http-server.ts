/** An HTTP server for one object that can be told to misbehave. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface ServerBehaviour {
  content: Uint8Array;
  etag: string | null;
  lastModified: string | null;
  /** Answers every range with 200 and the whole object. */
  ignoreRange: boolean;
  /** Leaves Content-Length out of 200 answers. */
  chunked: boolean;
  /** Replaces the Content-Range of 206 answers; null leaves it out. */
  contentRange: ((honest: string) => string | null) | undefined;
  contentEncoding: string | null;
  /** So many next requests get this status. */
  failures: number;
  failWith: number;
  retryAfter: string | null;
  /** So many next answers are cut after `cutAfter` bytes by closing the connection. */
  cuts: number;
  cutAfter: number;
  /** So many next answers stop in the middle and keep the connection. */
  stalls: number;
  /** At most this many bytes per answer. */
  capRange: number;
  /** Sends this many bytes more than announced in Content-Range. */
  surplus: number;
  refuseHead: boolean;
  /** Milliseconds before each answer. */
  delay: number;
  /** Answers with a redirect to this instead. */
  redirect: ((path: string) => string | null) | undefined;
  /** A request for which this is true gets 403. */
  forbid: ((request: IncomingMessage) => boolean) | undefined;
}

export interface TestServer {
  readonly url: string;
  readonly port: number;
  readonly behaviour: ServerBehaviour;
  /** "METHOD path range" of each request. */
  readonly log: string[];
  readonly requests: IncomingMessage[];
  close(): Promise<void>;
}

export async function startServer(content: Uint8Array, behaviour: Partial<ServerBehaviour> = {}): Promise<TestServer> {
  const how: ServerBehaviour = {
    content,
    etag: '"v1"',
    lastModified: null,
    ignoreRange: false,
    chunked: false,
    contentRange: undefined,
    contentEncoding: null,
    failures: 0,
    failWith: 503,
    retryAfter: null,
    cuts: 0,
    cutAfter: 1000,
    stalls: 0,
    capRange: Infinity,
    surplus: 0,
    refuseHead: false,
    delay: 0,
    redirect: undefined,
    forbid: undefined,
    ...behaviour,
  };
  const log: string[] = [];
  const requests: IncomingMessage[] = [];

  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    if (how.failures > 0) {
      how.failures--;
      response.writeHead(how.failWith, how.retryAfter === null ? {} : { "Retry-After": how.retryAfter }).end("failed");
      return;
    }
    const target = how.redirect?.(request.url!);
    if (target) {
      response.writeHead(302, { Location: target }).end("elsewhere");
      return;
    }
    if (how.forbid?.(request)) {
      response.writeHead(403).end("no");
      return;
    }
    if (request.method === "HEAD" && how.refuseHead) {
      response.writeHead(403).end();
      return;
    }
    const headers: Record<string, string> = { "Content-Type": "application/octet-stream" };
    if (how.etag !== null) headers["ETag"] = how.etag;
    if (how.lastModified !== null) headers["Last-Modified"] = how.lastModified;
    if (how.contentEncoding !== null) headers["Content-Encoding"] = how.contentEncoding;
    const { length } = how.content;
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const stale = request.headers["if-range"] !== undefined && request.headers["if-range"] !== how.etag;
    let first = 0;
    let last = length - 1;
    let status = 200;
    if (range !== null && !how.ignoreRange && !stale) {
      first = Number(range[1]);
      last = Math.min(length - 1, range[2] === "" ? Infinity : Number(range[2]), first + how.capRange - 1);
      if (first >= length) {
        response.writeHead(416, { ...headers, "Content-Range": `bytes */${length}` }).end();
        return;
      }
      status = 206;
      const honest = `bytes ${first}-${last}/${length}`;
      const field = how.contentRange === undefined ? honest : how.contentRange(honest);
      if (field !== null) headers["Content-Range"] = field;
    }
    const body = Buffer.from(how.content.subarray(first, last + 1 + how.surplus));
    if (!(status === 200 && how.chunked)) headers["Content-Length"] = String(body.length);
    response.writeHead(status, headers);
    if (request.method === "HEAD") response.end();
    else if (how.cuts > 0) {
      how.cuts--;
      response.write(body.subarray(0, how.cutAfter), () => response.destroy());
    } else if (how.stalls > 0) {
      how.stalls--;
      response.write(body.subarray(0, body.length >> 1));
    } else response.end(body);
  };

  const server = createServer((request, response) => {
    log.push(`${request.method} ${request.url} ${request.headers.range ?? "-"}`);
    requests.push(request);
    if (how.delay > 0) setTimeout(() => answer(request, response), how.delay).unref();
    else answer(request, response);
  });
  server.keepAliveTimeout = 0; // see loopback.ts
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/image.raw`,
    port,
    behaviour: how,
    log,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
