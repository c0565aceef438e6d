/** qemu-nbd as a server: one export on a socket, until a signal or, without `-t`, the last client has gone. */
import { unlinkSync, writeFileSync } from "node:fs";
import type { Server } from "node:net";
import { BlockError } from "../../base/error.js";
import { Backend } from "../../block/backend.js";
import { runAsync } from "../../block/op.js";
import { MAX_NAME } from "../../nbd/constants.js";
import { listen, socketDuplex, type SocketAddress } from "../../nbd/node-socket.js";
import { NbdServer } from "../../nbd/server.js";
import { sayReady } from "../detach.js";
import { compileSoon } from "../engine.js";
import { cliEnvironment } from "../environment.js";
import type { ParsedOptions } from "../options.js";
import { openExported } from "./image.js";
import type { NbdProgram } from "./program.js";
import { serverTlsOf } from "./tls.js";

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

export async function serve(address: SocketAddress, parsed: ParsedOptions, { output, signal }: NbdProgram): Promise<number> {
  compileSoon();
  const environment = cliEnvironment({ objects: parsed.all("object"), warn: (message) => output.advise(message) });
  const name = parsed.get("export-name") ?? "";
  const description = parsed.get("description") ?? "";
  if (Buffer.byteLength(name) > MAX_NAME) throw fail(`export name '${name}' too long`);
  if (Buffer.byteLength(description) > MAX_NAME) throw fail(`export description '${description}' too long`);
  const maxConnections = clientLimit(parsed);
  const startTls = serverTlsOf(environment, parsed);
  const { root, writable, bitmaps } = await openExported(environment, parsed);
  const backend = new Backend("", root);
  const server = new NbdServer({
    maxConnections,
    ...(startTls === undefined ? {} : { startTls }),
    onProblem: (message) => output.error(message),
  });
  server.add({
    name,
    description,
    backend,
    writable,
    bitmaps,
    allocationDepth: parsed.has("allocation-depth"),
    preferredBlock: 4096,
    multiConn: maxConnections !== 1,
  });
  try {
    await run(server, address, parsed, signal);
  } finally {
    await server.close();
    await runAsync(backend.close());
    await runAsync(root.unref());
  }
  return 0;
}

function clientLimit(parsed: ParsedOptions): number {
  const text = parsed.get("shared");
  const limit = Number(text ?? 1);
  if (!Number.isInteger(limit) || limit < 0 || text?.trim() === "") throw fail(`Invalid shared device number '${text}'`);
  return limit;
}

async function run(server: NbdServer, address: SocketAddress, parsed: ParsedOptions, signal: AbortSignal): Promise<void> {
  const listener = await listenOn(address, server);
  const pidFile = parsed.get("pid-file");
  try {
    if (pidFile !== undefined) writePid(pidFile);
    sayReady(parsed.has("verbose"));
    await new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => resolve());
      if (signal.aborted) resolve();
      if (!parsed.has("persistent")) server.onIdle = resolve;
    });
  } finally {
    listener.close();
    // The file with the process's number stays, as qemu-nbd's does: callers remove it.
    if ("path" in address) removeQuietly(address.path);
  }
}

async function listenOn(address: SocketAddress, server: NbdServer): Promise<Server> {
  try {
    return await listen(address, (socket) => void server.accept(socketDuplex(socket)));
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    const why = code === "EADDRINUSE" ? "Address already in use" : message;
    const where = "path" in address ? `Failed to bind socket to ${address.path}` : `Failed to find an available port`;
    throw new BlockError("ERR_IO", `${where}: ${why}`, { cause: error });
  }
}

function writePid(path: string): void {
  try {
    writeFileSync(path, `${process.pid}\n`);
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    throw new BlockError("ERR_IO", `Could not create '${path}': ${code === "ENOENT" ? "No such file or directory" : message}`, {
      cause: error,
    });
  }
}

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // somebody removed it
  }
}
