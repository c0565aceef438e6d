/** qemu-nbd: serves an image over NBD until the last client has gone, or lists what a server exports. */
import { spawn } from "node:child_process";
import { closeSync, openSync, unlinkSync, writeFileSync } from "node:fs";
import type { Server } from "node:net";
import { BlockError } from "../../base/error.js";
import { Backend } from "../../block/backend.js";
import type { DirtyBitmap } from "../../block/dirty-bitmap.js";
import type { OpenFlags } from "../../block/context.js";
import type { Node } from "../../block/node.js";
import { openNode } from "../../block/open.js";
import { runAsync } from "../../block/op.js";
import { openImage } from "../../image/open.js";
import { listExports } from "../../nbd/client.js";
import { ExportFlag } from "../../nbd/constants.js";
import { connectSocket, listen, socketDuplex, type SocketAddress } from "../../nbd/node-socket.js";
import { NbdServer } from "../../nbd/server.js";
import { parseSizeArgument } from "../../base/size.js";
import { cliEnvironment } from "../environment.js";
import { cacheFlags } from "../img/verb.js";
import { parseOptions, UsageError, type ParsedOptions } from "../options.js";
import type { Output } from "../output.js";
import { NBD_OPTIONS, nbdHelp } from "./options.js";

export interface NbdProgram {
  program: string;
  version: string;
  output: Output;
  signal: AbortSignal;
}

const DEFAULT_PORT = 10809;
/** Tells a child made by --fork that its parent waits for word on descriptor 3. */
const FORKED = "BLOCKCORE_NBD_FORKED";

export async function nbdMain(argv: string[], program: NbdProgram): Promise<number> {
  const { output } = program;
  try {
    const parsed = parseOptions([program.program, ...argv], NBD_OPTIONS, { wording: "glibc" });
    if (parsed.action === "help") {
      output.print(nbdHelp(program.program));
      return 0;
    }
    if (parsed.action === "version") {
      output.print(`${program.program} ${program.version}\n`);
      return 0;
    }
    refuseWhatCannotBe(parsed);
    if (parsed.has("list")) return await list(parsed, program);
    if (parsed.operands.length !== 1) throw new UsageError("Invalid number of arguments");
    if (parsed.has("fork") && process.env[FORKED] === undefined) return await fork(argv);
    return await serve(parsed, program);
  } catch (error) {
    output.failure(error);
    if (error instanceof UsageError) output.note(`Try '${program.program} --help' for more information.\n`);
    return 1;
  }
}

function refuseWhatCannotBe(parsed: ParsedOptions): void {
  for (const name of ["connect", "disconnect"]) {
    if (parsed.has(name))
      throw new BlockError(
        "ERR_UNSUPPORTED",
        `--${name}: kernel NBD devices need an ioctl that this program does not make; use nbd-client`,
      );
  }
  for (const name of ["tls-creds", "tls-hostname", "tls-authz"]) {
    if (parsed.has(name))
      throw new BlockError(
        "ERR_UNSUPPORTED",
        `--${name}: TLS is not available in this program; the library's NbdServer takes a startTls function`,
      );
  }
  if (parsed.has("snapshot")) throw new BlockError("ERR_UNSUPPORTED", "-s: make an overlay with `create -b` and serve that");
  const aio = parsed.get("aio");
  if (aio !== undefined && !["threads", "native", "io_uring"].includes(aio))
    throw new BlockError("ERR_INVALID_ARGUMENT", `invalid aio mode '${aio}'`);
}

function addressOf(parsed: ParsedOptions): SocketAddress {
  const path = parsed.get("socket");
  if (path !== undefined) {
    if (parsed.has("bind") || parsed.has("port")) throw new UsageError("-k cannot be combined with -b or -p");
    return { path };
  }
  const port = Number(parsed.get("port") ?? DEFAULT_PORT);
  if (!Number.isInteger(port) || port < 0 || port > 65535) throw new UsageError(`Invalid port '${parsed.get("port")}'`);
  return { host: parsed.get("bind") ?? "0.0.0.0", port };
}

// ---- --fork -------------------------------------------------------------------------------------------------------

/** Starts the server as a process of its own and ends as soon as it listens (or has failed). */
function fork(argv: string[]): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [process.argv[1]!, ...argv], {
      detached: true,
      stdio: ["ignore", "ignore", "inherit", "pipe"],
      env: { ...process.env, [FORKED]: "1" },
    });
    const word = child.stdio[3]!;
    let ready = false;
    word.on("data", () => {
      ready = true;
      child.unref();
      word.destroy();
      resolve(0);
      // The child lives on; nothing of ours must keep this process.
      setImmediate(() => process.exit(0));
    });
    child.on("exit", (code) => {
      if (!ready) resolve(code ?? 1);
    });
  });
}

function tellParent(): void {
  if (process.env[FORKED] === undefined) return;
  try {
    writeFileSync(3, "ready\n");
    closeSync(3);
  } catch {
    // the parent has gone
  }
  // Whoever reads the parent's messages must not wait for us.
  closeSync(2);
  openSync("/dev/null", "w");
}

// ---- serving ------------------------------------------------------------------------------------------------------

async function serve(parsed: ParsedOptions, { output, signal }: NbdProgram): Promise<number> {
  const environment = cliEnvironment({ objects: parsed.all("object"), warn: (message) => output.warning(message) });
  const filename = parsed.operands[0]!;
  const readOnly = parsed.has("read-only") || parsed.has("load-snapshot");
  const address = addressOf(parsed);
  const flags: Partial<OpenFlags> = {
    write: !readOnly,
    unmap: (parsed.get("discard") ?? "unmap") !== "ignore" && (parsed.get("discard") ?? "unmap") !== "off",
    ...cacheFlags(parsed.get("cache") ?? (parsed.has("nocache") ? "none" : "writeback"), "cache"),
  };
  flags.write = !readOnly;
  const detect = parsed.get("detect-zeroes");
  const image = await runAsync(
    openImage(
      environment,
      {
        filename,
        format: parsed.get("format"),
        imageOpts: parsed.has("image-opts"),
        options: detect === undefined ? undefined : { "detect-zeroes": detect },
      },
      flags,
    ),
  );
  const root = await windowOf(environment, image, parsed);
  await loadSnapshot(root, parsed.get("load-snapshot"));
  const backend = new Backend("", root);
  const server = new NbdServer({ maxConnections: clientLimit(parsed) });
  server.add({
    name: parsed.get("export-name") ?? "",
    description: parsed.get("description") ?? "",
    backend,
    writable: !readOnly,
    bitmaps: await bitmapsOf(image, parsed.all("bitmap")),
    allocationDepth: parsed.has("allocation-depth"),
    preferredBlock: 4096,
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
  const limit = Number(parsed.get("shared") ?? 1);
  if (!Number.isInteger(limit) || limit < 0) throw new UsageError(`Invalid shared device number '${parsed.get("shared")}'`);
  return limit;
}

async function windowOf(environment: Parameters<typeof openNode>[0], image: Node, parsed: ParsedOptions): Promise<Node> {
  const text = parsed.get("offset");
  if (text === undefined) return image;
  const offset = parseSizeArgument("offset", text);
  const node = await runAsync(openNode(environment, { driver: "raw", options: { file: image, offset }, flags: image.flags }));
  await runAsync(image.unref());
  return node;
}

async function loadSnapshot(node: Node, wanted: string | undefined): Promise<void> {
  if (wanted === undefined) return;
  const impl = node.impl;
  if (impl.shape !== "mapped" || impl.snapshots === undefined)
    throw new BlockError("ERR_UNSUPPORTED", "Failed to load snapshot: the format has no snapshots");
  const name = wanted.startsWith("snapshot.") ? wanted.slice(wanted.indexOf("=") + 1) : wanted;
  const found = impl.snapshots
    .list()
    .find((snapshot) =>
      wanted.startsWith("snapshot.id=") ? snapshot.id === name : snapshot.id === name || snapshot.name === name,
    );
  if (found === undefined) throw new BlockError("ERR_NOT_FOUND", `Failed to load snapshot: Can't find snapshot '${name}'`);
  await runAsync(impl.snapshots.load(found));
}

async function bitmapsOf(image: Node, names: readonly string[]): Promise<Map<string, DirtyBitmap>> {
  const chosen = new Map<string, DirtyBitmap>();
  for (const name of names) {
    let layer = image;
    let found = layer.bitmaps.find((bitmap) => bitmap.name === name);
    while (found === undefined && layer.backing !== null) {
      layer = layer.backing;
      found = layer.bitmaps.find((bitmap) => bitmap.name === name);
    }
    if (found === undefined) throw new BlockError("ERR_NOT_FOUND", `Bitmap '${name}' is not found`);
    chosen.set(name, await runAsync(found.load()));
  }
  return chosen;
}

async function run(server: NbdServer, address: SocketAddress, parsed: ParsedOptions, signal: AbortSignal): Promise<void> {
  let listener: Server;
  try {
    listener = await listen(address, (socket) => void server.accept(socketDuplex(socket)));
  } catch (error) {
    const where = "path" in address ? address.path : `${address.host}:${address.port}`;
    throw new BlockError("ERR_IO", `Failed to bind socket to ${where}: ${(error as Error).message}`, { cause: error });
  }
  const pidFile = parsed.get("pid-file");
  if (pidFile !== undefined) writeFileSync(pidFile, `${process.pid}\n`);
  tellParent();
  await new Promise<void>((resolve) => {
    signal.addEventListener("abort", () => resolve());
    if (signal.aborted) resolve();
    if (!parsed.has("persistent")) server.onIdle = resolve;
  });
  listener.close();
  if ("path" in address) {
    try {
      unlinkSync(address.path);
    } catch {
      // somebody removed it
    }
  }
  if (pidFile !== undefined) {
    try {
      unlinkSync(pidFile);
    } catch {
      // somebody removed it
    }
  }
}

// ---- --list -------------------------------------------------------------------------------------------------------

const FLAG_NAMES: readonly [number, string][] = [
  [ExportFlag.readOnly, "readonly"],
  [ExportFlag.flush, "flush"],
  [ExportFlag.fua, "fua"],
  [ExportFlag.rotational, "rotational"],
  [ExportFlag.trim, "trim"],
  [ExportFlag.writeZeroes, "zeroes"],
  [ExportFlag.df, "df"],
  [ExportFlag.multiConn, "multi"],
  [ExportFlag.resize, "resize"],
  [ExportFlag.cache, "cache"],
  [ExportFlag.fastZero, "fast-zero"],
];

async function list(parsed: ParsedOptions, { output }: NbdProgram): Promise<number> {
  if (parsed.operands.length > 0) throw new UsageError("List mode is incompatible with a file name");
  const address = addressOf(parsed);
  if ("host" in address && parsed.get("bind") === undefined) address.host = "localhost";
  let socket;
  try {
    socket = await connectSocket(address);
  } catch (error) {
    const where = "path" in address ? address.path : `${address.host}:${address.port}`;
    throw new BlockError("ERR_IO", `Failed to connect to '${where}': ${(error as Error).message}`, { cause: error });
  }
  const found = await listExports(socketDuplex(socket));
  output.print(`exports available: ${found.length}\n`);
  for (const item of found) {
    output.print(` export: '${item.name}'\n`);
    if (item.description !== "") output.print(`  description: ${item.description}\n`);
    output.print(`  size:  ${item.size}\n`);
    const names = FLAG_NAMES.filter(([bit]) => (item.flags & bit) !== 0).map(([, name]) => ` ${name}`);
    output.print(`  flags: 0x${item.flags.toString(16)} (${names.join("")} )\n`);
    output.print(`  min block: ${item.minBlock}\n  opt block: ${item.preferredBlock}\n  max block: ${item.maxBlock}\n`);
    if (item.contexts.length > 0)
      output.print(`  available meta contexts: ${item.contexts.length}\n${item.contexts.map((name) => `   ${name}\n`).join("")}`);
  }
  return 0;
}
