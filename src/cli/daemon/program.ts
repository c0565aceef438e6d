/** qemu-storage-daemon: nodes, exports and QMP monitors, until `quit` or a signal. */
import { spawn } from "node:child_process";
import { readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { BlockError } from "../../base/error.js";
import { READ_WRITE } from "../../block/flags.js";
import { openNode } from "../../block/open.js";
import { runAsync } from "../../block/op.js";
import { listen, socketDuplex } from "../../nbd/node-socket.js";
import { isJsonObject, type JsonObject } from "../../qapi/json.js";
import { optsToObject, parseJsonOrKeyval, parseOpts, scalarText } from "../../qapi/options.js";
import { rootPath } from "../../qapi/schema.js";
import { BlockCore } from "../../qmp/block-core.js";
import type { Profile } from "../../qmp/command.js";
import { findCommand } from "../../qmp/commands.js";
import type { Listen } from "../../qmp/export-list.js";
import { serveMonitor } from "../../qmp/server.js";
import { cliEnvironment } from "../environment.js";
import { cacheFlags } from "../img/verb.js";
import { getopt, UsageError, type GetoptItem } from "../options.js";
import type { Output } from "../output.js";
import { readSecrets } from "../secrets.js";
import { makeChardev, type Chardev } from "./chardev.js";
import { DAEMON_OPTIONS, daemonHelp } from "./options.js";

export interface DaemonProgram {
  program: string;
  version: string;
  output: Output;
  signal: AbortSignal;
}

/** Tells a child made by --daemonize that its parent waits for word on descriptor 3. */
const FORKED = "BLOCKCORE_DAEMON_FORKED";

export async function daemonMain(argv: string[], program: DaemonProgram): Promise<number> {
  const { output } = program;
  try {
    const items = [...getopt([program.program, ...argv], DAEMON_OPTIONS, { wording: "glibc" })];
    for (const item of items) {
      if (item.kind === "operands" && item.operands.length > 0) throw new UsageError(`Unexpected argument: ${item.operands[0]}`);
      if (item.kind !== "option") continue;
      if (item.option.name === "help") {
        output.print(daemonHelp(program.program));
        return 0;
      }
      if (item.option.name === "version") {
        output.print(`${program.program} version ${program.version}\n`);
        return 0;
      }
    }
    if (has(items, "daemonize") && process.env[FORKED] === undefined) return await daemonize(argv);
    return await serve(items, program);
  } catch (error) {
    output.failure(error);
    if (error instanceof UsageError) output.note(`Try '${program.program} --help' for more information.\n`);
    return 1;
  }
}

const has = (items: readonly GetoptItem[], name: string): boolean =>
  items.some((item) => item.kind === "option" && item.option.name === name);
const lastValue = (items: readonly GetoptItem[], name: string): string | undefined => {
  let found: string | undefined;
  for (const item of items) if (item.kind === "option" && item.option.name === name) found = item.value;
  return found;
};

async function serve(items: readonly GetoptItem[], { output, signal }: DaemonProgram): Promise<number> {
  const profile = (lastValue(items, "profile") ?? "qemu-7.2") as Profile;
  if (profile !== "qemu-2.2" && profile !== "qemu-7.2") throw new UsageError(`Unknown profile '${String(profile)}'`);
  let end = (): void => {};
  const ended = new Promise<void>((resolve) => (end = resolve));
  signal.addEventListener("abort", () => end(), { once: true });
  const core = new BlockCore({
    environment: cliEnvironment({ objects: [], warn: (message) => output.warning(message) }),
    profile,
    listen: listenOnSockets,
    readFile: (path) => readFileSync(path),
    onQuit: () => void setTimeout(end, 0),
  });
  const chardevs = new Map<string, Chardev>();
  const open = new Set<Promise<void>>();
  const pidfile = lastValue(items, "pidfile");
  try {
    // In the order given, as QEMU does: what is used must have been made before.
    for (const item of items) {
      if (item.kind !== "option") continue;
      await take(item.option.name, item.value ?? "", core, chardevs, open);
    }
    if (pidfile !== undefined) writeFileSync(pidfile, `${process.pid}\n`);
    tellParent();
    await ended;
    return 0;
  } finally {
    await core.close();
    for (const chardev of chardevs.values()) await chardev.close();
    if (pidfile !== undefined) removeQuietly(pidfile);
    // Answers on their way get there; a client that does not read them is not waited for.
    setTimeout(() => process.exit(process.exitCode ?? 0), 500).unref();
  }
}

async function take(
  name: string,
  value: string,
  core: BlockCore,
  chardevs: Map<string, Chardev>,
  open: Set<Promise<void>>,
): Promise<void> {
  switch (name) {
    case "object":
      addObject(core, value);
      return;
    case "blockdev":
      await runKeyval(core, "blockdev-add", value, "driver");
      return;
    case "export":
      await runKeyval(core, "block-export-add", value, "type");
      return;
    case "nbd-server":
      await startNbd(core, value);
      return;
    case "drive":
      await addDrive(core, value);
      return;
    case "chardev": {
      const chardev = makeChardev(value);
      if (chardevs.has(chardev.id)) throw new BlockError("ERR_EXISTS", `Chardev with id '${chardev.id}' already exists`);
      chardevs.set(chardev.id, chardev);
      return;
    }
    case "monitor": {
      const options = optsToObject(parseOpts(value, "chardev"));
      const id = scalarText(options["chardev"] ?? "");
      const mode = options["mode"];
      if (mode !== undefined && mode !== "control")
        throw new BlockError("ERR_INVALID_ARGUMENT", `Parameter 'mode' does not accept value '${String(mode)}'`);
      const chardev = chardevs.get(id ?? "");
      if (chardev === undefined) throw new BlockError("ERR_NOT_FOUND", `chardev "${id ?? ""}" not found`);
      const pretty = options["pretty"] === "on";
      await chardev.open((duplex) => {
        const serving = serveMonitor(core, duplex, { pretty });
        open.add(serving);
        return serving.finally(() => open.delete(serving));
      });
      return;
    }
    default:
  }
}

/** A command whose arguments come as `key=value,…` or JSON. */
async function runKeyval(core: BlockCore, command: string, text: string, impliedKey: string): Promise<void> {
  const { value, mode } = parseJsonOrKeyval(text, impliedKey);
  const schema = findCommand("qemu-7.2", command)!.arguments!;
  const args = schema.validate(value, rootPath(mode)) as JsonObject;
  if (command === "blockdev-add" && core.profile === "qemu-2.2") {
    core.nodes.checkNames(args, (name) => core.devices.has(name));
    core.nodes.owned.add(await runAsync(openNode(core.environment, { options: args, flags: READ_WRITE })));
    return;
  }
  await core.execute(command, args);
}

async function startNbd(core: BlockCore, text: string): Promise<void> {
  const { value } = parseJsonOrKeyval(text);
  const addr = value["addr"];
  if (!isJsonObject(addr)) throw new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'addr' is missing");
  const { type, ...data } = addr;
  const most = value["max-connections"];
  await core.execute("nbd-server-start", {
    addr: { type: type ?? "", data },
    ...(most === undefined ? {} : { "max-connections": Number(most) }),
  });
}

function addObject(core: BlockCore, text: string): void {
  const { value, mode } = parseJsonOrKeyval(text, "qom-type");
  const checked = findCommand("qemu-7.2", "object-add")!.arguments!.validate(value, rootPath(mode)) as JsonObject;
  const id = checked["id"] as string;
  if (checked["qom-type"] === "secret") {
    // Wrapped secrets need the others: the command line's reader knows how.
    const known = core.objects
      .all()
      .filter(({ type }) => type === "secret")
      .map(({ id: other, secret }) => `secret,id=${other},format=base64,data=${Buffer.from(secret!).toString("base64")}`);
    const bytes = readSecrets([...known, text]).get(id)!;
    core.objects.add({ "qom-type": "secret", id, format: "base64", data: Buffer.from(bytes).toString("base64") });
  } else core.objects.add(checked);
}

/** `--drive id=…,file=…,format=…`: a device with a medium. */
async function addDrive(core: BlockCore, text: string): Promise<void> {
  const options = optsToObject(parseOpts(text)) as Record<string, unknown>;
  const word = (name: string): string | undefined => {
    const value = options[name];
    delete options[name];
    return value === undefined ? undefined : scalarText(value as never);
  };
  const id = word("id");
  if (id === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'id' is missing");
  word("if");
  word("index");
  const media = word("media");
  const file = word("file");
  const format = word("format") ?? word("driver");
  const cache = word("cache");
  const readOnly = word("readonly") ?? word("read-only");
  const nodeName = word("node-name");
  if (file === undefined && Object.keys(options).length === 0) {
    core.addDevice(id, null, { removable: media === "cdrom" });
    return;
  }
  if (nodeName !== undefined) core.nodes.checkNames({ "node-name": nodeName }, (name) => core.devices.has(name));
  const node = await runAsync(
    openNode(core.environment, {
      ...(file === undefined ? {} : { filename: file }),
      ...(format === undefined ? {} : { driver: format }),
      options: { ...nested(options), ...(nodeName === undefined ? {} : { "node-name": nodeName }) },
      flags: {
        ...READ_WRITE,
        write: readOnly !== "on" && media !== "cdrom",
        ...(cache === undefined ? {} : cacheFlags(cache, "cache")),
      },
    }),
  );
  core.addDevice(id, node, { removable: media === "cdrom" });
  await runAsync(node.unref());
}

function nested(flat: Readonly<Record<string, unknown>>): JsonObject {
  const text = Object.entries(flat)
    .map(([name, value]) => `${name}=${String(value).replaceAll(",", ",,")}`)
    .join(",");
  return text === "" ? {} : parseJsonOrKeyval(text).value;
}

const listenOnSockets: Listen = async (address, accept) => {
  const where =
    address.type === "unix"
      ? { path: address.path }
      : { host: address.host === "" ? "0.0.0.0" : address.host, port: Number(address.port) };
  if ("path" in where) removeQuietly(where.path);
  else if (!Number.isInteger(where.port) || where.port < 0 || where.port > 65535)
    throw new BlockError("ERR_INVALID_ARGUMENT", `address resolution failed for ${where.host}:${address.port as string}`);
  const server = await listen(where, (socket) => accept(socketDuplex(socket)));
  return () =>
    new Promise<void>((resolve) => {
      server.close();
      if ("path" in where) removeQuietly(where.path);
      resolve();
    });
};

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // it was not there
  }
}

// ---- --daemonize ----------------------------------------------------------------------------------------------------

function daemonize(argv: string[]): Promise<number> {
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
  } catch {
    // the parent has gone
  }
}
