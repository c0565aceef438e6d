/** qemu-storage-daemon: nodes, exports and QMP monitors, until `quit` or a signal. */
import { readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { BlockError } from "../../base/error.js";
import { READ_WRITE } from "../../block/flags.js";
import { openNode } from "../../block/open.js";
import { runAsync } from "../../block/op.js";
import { makePlatformObject } from "../../nbd/node-objects.js";
import { listen, socketDuplex } from "../../nbd/node-socket.js";
import { isJsonObject, type JsonObject } from "../../qapi/json.js";
import { optsToObject, parseJsonOrKeyval, parseOpts, scalarText } from "../../qapi/options.js";
import { rootPath } from "../../qapi/schema.js";
import { BlockCore } from "../../qmp/block-core.js";
import type { Profile } from "../../qmp/command.js";
import { findCommand } from "../../qmp/commands.js";
import { addDrive } from "../../qmp/drive.js";
import type { Listen } from "../../qmp/export-list.js";
import { serveMonitor } from "../../qmp/server.js";
import { detach, mustDetach, sayReady } from "../detach.js";
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
    if (has(items, "daemonize") && mustDetach()) return await detach();
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
    makeObject: makePlatformObject,
    onQuit: () => void setTimeout(end, 0),
  });
  const chardevs = new Map<string, Chardev>();
  const pidfile = lastValue(items, "pidfile");
  try {
    // In the order given, as QEMU does: what is used must have been made before. Nobody is listened to before all is there.
    const monitors: (() => Promise<void>)[] = [];
    for (const item of items) {
      if (item.kind !== "option") continue;
      if (item.option.name === "monitor") monitors.push(monitorOf(item.value ?? "", core, chardevs));
      else await take(item.option.name, item.value ?? "", core, chardevs);
    }
    for (const start of monitors) await start();
    if (pidfile !== undefined) writeFileSync(pidfile, `${process.pid}\n`);
    sayReady();
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

async function take(name: string, value: string, core: BlockCore, chardevs: Map<string, Chardev>): Promise<void> {
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
      await runAsync(addDrive(core, optsToObject(parseOpts(value))));
      return;
    case "chardev": {
      const chardev = makeChardev(value);
      if (chardevs.has(chardev.id)) throw new BlockError("ERR_EXISTS", `Chardev with id '${chardev.id}' already exists`);
      chardevs.set(chardev.id, chardev);
      return;
    }
    default:
  }
}

/** Checks the options of a monitor; the result lets clients in. */
function monitorOf(text: string, core: BlockCore, chardevs: ReadonlyMap<string, Chardev>): () => Promise<void> {
  const options = optsToObject(parseOpts(text, "chardev"));
  const id = scalarText(options["chardev"] ?? "");
  const mode = options["mode"];
  if (mode !== undefined && mode !== "control")
    throw new BlockError("ERR_INVALID_ARGUMENT", `Parameter 'mode' does not accept value '${String(mode)}'`);
  const chardev = chardevs.get(id ?? "");
  if (chardev === undefined) throw new BlockError("ERR_NOT_FOUND", `chardev "${id ?? ""}" not found`);
  const pretty = options["pretty"] === "on";
  return () => chardev.open((duplex) => serveMonitor(core, duplex, { pretty }));
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
  const { "tls-creds": creds, "tls-authz": authz } = value;
  await core.execute("nbd-server-start", {
    addr: { type: type ?? "", data },
    ...(most === undefined ? {} : { "max-connections": Number(most) }),
    ...(creds === undefined ? {} : { "tls-creds": creds }),
    ...(authz === undefined ? {} : { "tls-authz": authz }),
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
