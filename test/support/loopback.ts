/** A small HTTP server on the loopback for portable tests: named bodies with byte ranges, ETag and cross-origin isolation. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface Body {
  type: string;
  /** The whole content, or a size with a function that makes any range of it (for bodies larger than memory). */
  content: Uint8Array | { size: number; range(offset: number, length: number): Uint8Array };
}

export interface Served {
  requests: number;
  bytes: number;
}

export interface Loopback {
  /** `http://localhost:port`: an origin that browsers treat as secure. */
  origin: string;
  /** `http://127.0.0.1:port` */
  address: string;
  bodies: Map<string, Body>;
  /** What was sent of each path; portable tests ask for it at `/served?/path`. */
  served: Map<string, Served>;
  close(): Promise<void>;
}

/** Byte n of `/pattern`: tells the offset it came from. */
export const patternByte = (offset: number): number => (offset % 251) ^ (Math.floor(offset / 65536) & 255);

/** The body every loopback server has: 1 MiB + 13 bytes of the pattern. */
export function patternBytes(offset: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => patternByte(offset + i));
}
export const PATTERN_SIZE: number = 1048576 + 13;

/** Starts the server on a free port. */
export async function loopback(): Promise<Loopback> {
  const bodies = new Map<string, Body>();
  bodies.set("/pattern", { type: "application/octet-stream", content: { size: PATTERN_SIZE, range: patternBytes } });
  const served = new Map<string, Served>();
  const count = (path: string, bytes: number): void => {
    const sum = served.get(path) ?? { requests: 0, bytes: 0 };
    served.set(path, { requests: sum.requests + 1, bytes: sum.bytes + bytes });
  };
  const server = createServer((request, response) => {
    const [path = "/", query = ""] = (request.url ?? "/").split("?");
    if (path === "/served") {
      response.end(JSON.stringify(served.get(query) ?? { requests: 0, bytes: 0 }));
      return;
    }
    const body = bodies.get(path);
    response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
    response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    response.setHeader("Cross-Origin-Resource-Policy", "cross-origin");
    response.setHeader("Cache-Control", "no-store");
    if (!body || (request.method !== "GET" && request.method !== "HEAD")) {
      response.writeHead(body ? 405 : 404).end();
      return;
    }
    const { content } = body;
    const size = content instanceof Uint8Array ? content.length : content.size;
    response.setHeader("Content-Type", body.type);
    response.setHeader("Accept-Ranges", "bytes");
    response.setHeader("ETag", `"${size}"`);
    let [start, end] = [0, size];
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    if (range) {
      start = Number(range[1]);
      end = range[2] ? Math.min(size, Number(range[2]) + 1) : size;
      if (start >= end) {
        response.writeHead(416, { "Content-Range": `bytes */${size}` }).end();
        return;
      }
      response.statusCode = 206;
      response.setHeader("Content-Range", `bytes ${start}-${end - 1}/${size}`);
    }
    response.setHeader("Content-Length", end - start);
    count(path, request.method === "HEAD" ? 0 : end - start);
    if (request.method === "HEAD") response.end();
    else response.end(content instanceof Uint8Array ? content.subarray(start, end) : content.range(start, end - start));
  });
  // Node closes connections that were idle for five seconds. A client that was busy (or stopped) for longer has not heard of it yet and
  // sends its next request into each of them in turn: "fetch failed".
  server.keepAliveTimeout = 0;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://localhost:${port}`,
    address: `http://127.0.0.1:${port}`,
    bodies,
    served,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
