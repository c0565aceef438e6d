/** From the emulator's command line to a BlockCore with monitors: what a test of QEMU starts, without a guest. */
import { readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { ManualClock } from "../../../src/base/clock.js";
import { BlockError, toBlockError } from "../../../src/base/error.js";
import { runAsync } from "../../../src/block/op.js";
import { earlierOutput, makeChardev, type Chardev, type OpenChardev } from "../../../src/cli/daemon/chardev.js";
import { standardOutput } from "../../../src/cli/daemon/standard-streams.js";
import { addObject, runKeyval } from "../../../src/cli/daemon/setup.js";
import { addDescriptor } from "../../../src/cli/add-fd.js";
import { cliEnvironment } from "../../../src/cli/environment.js";
import type { Output } from "../../../src/cli/output.js";
import { temporaryFile } from "../../../src/cli/temporary-file.js";
import { makePlatformObject } from "../../../src/nbd/node-objects.js";
import { listenOnSockets } from "../../../src/platform/node-listen.js";
import type { JsonObject } from "../../../src/qapi/json.js";
import { optsToObject, parseJsonOrKeyval, parseOpts } from "../../../src/qapi/options.js";
import { BlockCore } from "../../../src/qmp/block-core.js";
import type { Device } from "../../../src/qmp/device.js";
import { addDrive } from "../../../src/qmp/drive.js";
import { HmpMonitor } from "../../../src/qmp/hmp/monitor.js";
import { serveMonitor } from "../../../src/qmp/server.js";
import type { Given } from "./command-line.js";
import { deviceCommands, humanDeviceCommands } from "./device-commands.js";
import { emulatorDrivers } from "./drivers.js";
import { GuestDevices } from "./devices.js";
import { humanMigrationCommands, migrationCommands } from "./migration/commands.js";
import { Migration } from "./migration/migration.js";
import { answerProbe } from "./probes.js";
import { connectQtest, type Qtest } from "./qtest.js";

/** A failure of one option: the option stands before the message. */
class OptionError extends BlockError {
  constructor(message: string, hint?: string) {
    super("ERR_INVALID_ARGUMENT", message, hint === undefined ? {} : { hint });
  }
}

interface Monitor {
  readonly chardev: Chardev;
  readonly human: boolean;
  readonly pretty: boolean;
}

/** What stands for a drive in short. */
const SHORT: Readonly<Record<string, string>> = {
  hda: "index=0,media=disk",
  hdb: "index=1,media=disk",
  hdc: "index=2,media=disk",
  hdd: "index=3,media=disk",
  cdrom: "index=2,media=cdrom",
  fda: "if=floppy,index=0",
  fdb: "if=floppy,index=1",
};

export class Emulator {
  readonly #given: readonly Given[];
  readonly #output: Output;
  readonly #clock = new ManualClock();
  readonly #core: BlockCore;
  readonly #devices: GuestDevices;
  readonly #migration: Migration;
  readonly #chardevs = new Map<string, OpenChardev>();
  readonly #monitors: Monitor[] = [];
  readonly #qtests: Qtest[] = [];
  readonly #boardDrives: { device: Device; option: string; isDefault: boolean }[] = [];
  #ending = false;
  #exitCode = 0;
  #end: () => void = () => {};
  #close: () => void = () => {};
  readonly #closed: Promise<void> = new Promise((resolve) => (this.#close = resolve));
  readonly #ended: Promise<void> = new Promise((resolve) => (this.#end = resolve));

  constructor(given: readonly Given[], output: Output) {
    this.#given = given;
    this.#output = output;
    const accelerators = [
      ...this.#all("accel"),
      ...this.#all("machine").flatMap((value) => /accel=(\w+)/.exec(value)?.[1] ?? []),
    ];
    // Under qtest time stands still until the test moves it.
    const isQtest = accelerators.some((name) => name.startsWith("qtest")) && !accelerators.some((name) => name.startsWith("tcg"));
    const humanMigration = humanMigrationCommands(() => this.#migration);
    const environment = cliEnvironment({
      objects: [],
      warn: (message) => output.warning(message),
      report: (message) => output.error(message),
      debugMessage: (message) => void standardOutput().write(`${message}\n`),
    });
    const name = this.#all("name").at(-1);
    const uuid = this.#all("uuid").at(-1);
    this.#core = new BlockCore({
      identity: {
        ...(name === undefined ? {} : { name: optsToObject(parseOpts(name, "guest"))["guest"] as string }),
        ...(uuid === undefined ? {} : { uuid }),
      },
      environment: { ...environment, drivers: emulatorDrivers(environment.drivers) },
      listen: listenOnSockets,
      readFile: (path) => readFileSync(path),
      makeObject: makePlatformObject,
      temporaryFile,
      console: (text, stream) => void (stream === "stdout" ? standardOutput() : process.stderr).write(text),
      onQuit: () => {
        this.shutDown("host-qmp-quit");
        return this.#closed;
      },
      commands: [...deviceCommands(() => this.#devices), ...migrationCommands(() => this.#migration)],
      humanCommands: { commands: [...humanDeviceCommands, ...humanMigration.commands], info: humanMigration.info },
      ...(this.#has("incoming") ? { runState: "inmigrate" as const } : this.#has("S") ? { runState: "prelaunch" as const } : {}),
      ...(isQtest ? { clock: this.#clock, fixedLatency: 1e6 } : {}),
    });
    this.#devices = new GuestDevices(this.#core);
    this.#migration = new Migration(this.#core, {
      error: (message) => output.error(message),
      print: (text) => standardOutput().write(text),
      die: () => {
        this.#exitCode = 1;
        this.#ending = true;
        this.#end();
      },
    });
    this.#migration.autostart = !this.#has("S");
  }

  #all(name: string): string[] {
    return this.#given.filter((option) => option.name === name).map(({ value }) => value);
  }
  #has(name: string): boolean {
    return this.#given.some((option) => option.name === name);
  }

  shutDown(reason: string): void {
    if (this.#ending) return;
    this.#ending = true;
    this.#core.emit("SHUTDOWN", { guest: false, reason });
    this.#end();
  }

  async run(): Promise<number> {
    const probe = answerProbe(this.#given, () => [...this.#core.environment.drivers.keys()]);
    if (probe !== null) {
      process.stdout.write(probe);
      return 0;
    }
    const pidfile = this.#all("pidfile").at(-1);
    if (pidfile !== undefined) writeFileSync(pidfile, `${process.pid}\n`);
    try {
      await this.#setUp();
      await this.#ended;
      return this.#exitCode;
    } catch (error) {
      const { message, hint } = toBlockError(error);
      process.stderr.write(`qemu-system-x86_64: ${message}\n${hint === undefined ? "" : `${hint}\n`}`);
      return 1;
    } finally {
      await earlierOutput(this.#chardevs.values());
      await this.#core.close().catch((error: unknown) => this.#output.failure(error));
      this.#close();
      // The answer to `quit` goes out before the monitors end.
      await new Promise((resolve) => setImmediate(resolve));
      for (const chardev of this.#chardevs.values()) await chardev.close();
      for (const qtest of this.#qtests) qtest.end();
      if (pidfile !== undefined) unlinkSync(pidfile);
    }
  }

  /** In QEMU's order: objects, block nodes and drives, monitors, the board, devices. */
  async #setUp(): Promise<void> {
    for (const value of this.#all("add-fd")) await this.#option("add-fd", value, () => addDescriptor(value));
    for (const value of this.#all("object")) await this.#option("object", value, () => addObject(this.#core, value));
    for (const value of this.#all("qtest")) this.#qtests.push(await connectQtest(value, this.#clock));
    for (const value of this.#all("chardev")) await this.#option("chardev", value, () => this.#addChardev(value));
    for (const value of this.#all("blockdev"))
      await this.#option("blockdev", value, () => runKeyval(this.#core, "blockdev-add", value, "driver"));
    await this.#addDrives();
    this.#addMonitors();
    const human = await this.#openHumanMonitors();
    for (const { device, option, isDefault } of this.#boardDrives) {
      if (isDefault && device.place?.interface === "sd") continue;
      // Only some boards know which option a drive comes from.
      if (device.place?.interface === "ide") this.#devices.attachToBoard(device);
      else await this.#option(option, "", () => this.#devices.attachToBoard(device));
    }
    for (const value of this.#all("device"))
      await this.#option("device", value, () => runAsync(this.#devices.add(deviceOptions(value))));
    for (const monitor of human) void monitor.serve();
    for (const { chardev, pretty } of this.#monitors.filter((each) => !each.human))
      await chardev.open((duplex) => serveMonitor(this.#core, duplex, { pretty }));
    const from = this.#all("incoming").at(-1);
    if (from !== undefined) await this.#option("incoming", from, () => this.#migration.expect(from));
  }

  /** Failures carry the option that they are about. */
  async #option(name: string, value: string, work: () => unknown): Promise<void> {
    try {
      await work();
    } catch (error) {
      const { message, hint } = toBlockError(error);
      const text = value === "" ? name : `-${name} ${value}`;
      throw new OptionError(`${text}: ${message}`, hint);
    }
  }

  #addChardev(value: string): OpenChardev {
    const chardev = makeChardev(value);
    this.#chardevs.set(chardev.id, chardev);
    return chardev;
  }

  async #addDrives(): Promise<void> {
    const global = this.#has("snapshot") ? { snapshot: "on" } : {};
    for (const { name, value } of this.#given) {
      const short = SHORT[name];
      if (short === undefined && name !== "drive") continue;
      await this.#option(name, value, async () => {
        const options: JsonObject =
          short === undefined ? optsToObject(parseOpts(value)) : { file: value, ...optsToObject(parseOpts(short)) };
        await this.#addDrive({ ...options, ...global }, `-${name} ${value}`, false);
      });
    }
    if (this.#has("nodefaults")) return;
    for (const options of ["index=2,media=cdrom", "if=floppy,index=0", "if=sd,index=0"]) {
      const before = [...this.#core.devices.values()].map(({ place }) => place);
      const [, type = "ide", index] = /^(?:if=(\w+),)?index=(\d)/.exec(options)!;
      const [bus, unit] = type === "ide" ? [1, 0] : [0, Number(index)];
      if (before.some((place) => place?.interface === type && place.bus === bus && place.unit === unit)) continue;
      await this.#addDrive(optsToObject(parseOpts(options)), "", true);
    }
  }

  async #addDrive(options: JsonObject, option: string, isDefault: boolean): Promise<void> {
    const device = await runAsync(addDrive(this.#core, options));
    if (device.place !== null && device.place.interface !== "none") this.#boardDrives.push({ device, option, isDefault });
  }

  #addMonitors(): void {
    for (const { name, value } of this.#given) {
      if (name === "mon") {
        const options = optsToObject(parseOpts(value, "chardev"));
        const chardev = this.#chardevs.get(String(options["chardev"]));
        if (chardev === undefined) throw new OptionError(`-mon ${value}: chardev "${String(options["chardev"])}" not found`);
        this.#monitors.push({ chardev, human: options["mode"] !== "control", pretty: options["pretty"] === "on" });
      }
      if (name !== "monitor" && name !== "qmp" && name !== "qmp-pretty") continue;
      if (value === "none" || value === "null") continue;
      const chardev = this.#addChardev(compatChardev(value, this.#monitors.length));
      this.#monitors.push({ chardev, human: name === "monitor", pretty: name === "qmp-pretty" });
    }
    // A terminal without graphics has the monitor, unless somebody else has it.
    const spoken = this.#given.some(({ name }) => name === "monitor" || name === "mon");
    if (spoken || !this.#has("nographic") || this.#has("nodefaults")) return;
    if (this.#monitors.length > 0) return;
    this.#monitors.push({ chardev: this.#addChardev("stdio,id=compat_monitor0"), human: true, pretty: false });
  }

  /** They greet before devices are made, and listen afterwards. */
  async #openHumanMonitors(): Promise<HmpMonitor[]> {
    const monitors: HmpMonitor[] = [];
    for (const { chardev, human } of this.#monitors) {
      if (!human) continue;
      await chardev.open(async (duplex) => {
        const monitor = new HmpMonitor(this.#core, duplex, { version: "7.2.0", isEnding: () => this.#ending });
        monitors.push(monitor);
        await monitor.greet();
      });
    }
    return monitors;
  }
}

/** `stdio`, `unix:PATH,server=on`, `tcp:HOST:PORT` as an option of -chardev. */
function compatChardev(value: string, index: number): string {
  const id = `id=compat_monitor${index}`;
  const unix = /^unix:([^,]*)(.*)$/.exec(value);
  if (unix !== null) return `socket,${id},path=${unix[1]!}${unix[2]!}`;
  const tcp = /^tcp:([^:,]*):(\d+)(.*)$/.exec(value);
  if (tcp !== null) return `socket,${id},host=${tcp[1]!},port=${tcp[2]!}${tcp[3]!}`;
  return `${value},${id}`;
}

/** `-device` as a list of options or as JSON. */
function deviceOptions(value: string): JsonObject {
  return value.startsWith("{") ? parseJsonOrKeyval(value).value : optsToObject(parseOpts(value, "driver"));
}
