/** qemu-storage-daemon: nodes, exports and QMP monitors, until `quit` or a signal. */
import { readFileSync, writeFileSync } from "node:fs";
import { BlockError } from "../../base/error.js";
import { runAsync } from "../../block/op.js";
import { makePlatformObject } from "../../nbd/node-objects.js";
import { optsToObject, parseOpts, scalarText } from "../../qapi/options.js";
import { BlockCore } from "../../qmp/block-core.js";
import type { Profile } from "../../qmp/command.js";
import { addDescriptor } from "../add-fd.js";
import { addDrive } from "../../qmp/drive.js";
import { serveMonitor } from "../../qmp/server.js";
import { detach, mustDetach, sayReady } from "../detach.js";
import { cliEnvironment } from "../environment.js";
import { temporaryFile } from "../temporary-file.js";
import { getopt, UsageError, type GetoptItem } from "../options.js";
import { compileSoon, keepHeapSmall } from "../engine.js";
import type { Output } from "../output.js";
import { earlierOutput, makeChardev, type OpenChardev } from "./chardev.js";
import { DAEMON_OPTIONS, daemonHelp } from "./options.js";
import { standardOutput } from "./standard-streams.js";
import { addObject, runKeyval, startNbd } from "./setup.js";
import { listenOnSockets, removeQuietly } from "../../platform/node-listen.js";

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
      if (item.kind === "operands" && item.operands.length > 0) throw new UsageError(`${item.operands[0]}: Unexpected argument`);
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
    if (has(items, "daemonize") && has(items, "add-fd"))
      throw new UsageError("--add-fd cannot be used with --daemonize: descriptors do not get to the new process");
    if (has(items, "daemonize") && mustDetach()) return await detach();
    return await serve(items, program);
  } catch (error) {
    if (!(error instanceof UsageError)) return output.failure(error);
    output.error(error.message);
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
  keepHeapSmall();
  compileSoon();
  const profile = (lastValue(items, "profile") ?? "qemu-7.2") as Profile;
  if (profile !== "qemu-2.2" && profile !== "qemu-7.2") throw new UsageError(`Unknown profile '${String(profile)}'`);
  let end = (): void => {};
  const ended = new Promise<void>((resolve) => (end = resolve));
  let close = (): void => {};
  const closed = new Promise<void>((resolve) => (close = resolve));
  signal.addEventListener("abort", () => end(), { once: true });
  const core = new BlockCore({
    environment: cliEnvironment({
      objects: [],
      warn: (message) => output.advise(message),
      report: (message) => output.error(message),
    }),
    profile,
    listen: listenOnSockets,
    readFile: (path) => readFileSync(path),
    makeObject: makePlatformObject,
    temporaryFile,
    console: (text, stream) => void (stream === "stdout" ? standardOutput() : process.stderr).write(text),
    onQuit: () => {
      end();
      return closed;
    },
  });
  const chardevs = new Map<string, OpenChardev>();
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
    await earlierOutput(chardevs.values());
    await core.close().finally(close);
    // The answer to `quit` goes out before the monitors end.
    await new Promise((resolve) => setImmediate(resolve));
    for (const chardev of chardevs.values()) await chardev.close();
    if (pidfile !== undefined) removeQuietly(pidfile);
    // Answers on their way get there; a client that does not read them is not waited for.
    setTimeout(() => process.exit(process.exitCode ?? 0), 500).unref();
  }
}

async function take(name: string, value: string, core: BlockCore, chardevs: Map<string, OpenChardev>): Promise<void> {
  switch (name) {
    case "add-fd":
      addDescriptor(value);
      return;
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
function monitorOf(text: string, core: BlockCore, chardevs: ReadonlyMap<string, OpenChardev>): () => Promise<void> {
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
