/// <reference lib="esnext.disposable" preserve="true" />
/**
 * BlockCore: QEMU's block layer as one object that speaks QMP. Nodes by name, devices, jobs, exports, objects, events; every
 * command of QMP through `execute`.
 */
import { BlockError, strerror, toBlockError } from "../base/error.js";
import { systemClock, type Clock } from "../base/clock.js";
import { Emitter } from "../base/events.js";
import type { Backend } from "../block/backend.js";
import type { Environment, OpenFlags } from "../block/context.js";
import { READ_WRITE } from "../block/flags.js";
import { Machine } from "../block/machine.js";
import type { Node } from "../block/node.js";
import { checkPermissions, Permission } from "../block/permissions.js";
import { Mutex, runAsync, type Op } from "../block/op.js";
import { findCommand, commandsOf } from "./commands.js";
import type { Command, Profile, Reply } from "./command.js";
import { Device, type DeviceEvents, type DeviceOptions, type FrontEnd } from "./device.js";
import { DeviceList } from "./device-list.js";
import { EventGate } from "./event-gate.js";
import type { HumanCommands } from "./hmp/command.js";
import { ExportList, type Listen } from "./export-list.js";
import { JobList } from "./job-list.js";
import { NodeList } from "./node-list.js";
import { ObjectList, type MakeObject } from "./object-list.js";
import { dialectError } from "./profile.js";
import { ThrottleGroupList } from "./throttle-groups.js";
import type { Storage } from "../storage/storage.js";
import type { JsonInput } from "../qapi/json-writer.js";
import type { JsonObject, JsonValue } from "../qapi/json.js";

export interface QmpEvent {
  event: string;
  data: { readonly [name: string]: JsonInput | undefined };
  timestamp: { seconds: number; microseconds: number };
}

export interface BlockCoreOptions {
  environment: Environment;
  /** The dialect; today's by default. */
  profile?: Profile;
  /** Opens listening sockets for nbd-server-start; without it the command says that it cannot. */
  listen?: Listen;
  /** Makes TLS credentials and other objects that only the platform can; without it `object-add` refuses them. */
  makeObject?: MakeObject;
  /** Reads the file of a `secret` object. */
  readFile?: (path: string) => Uint8Array;
  /** Where the monitor's `qemu-io` prints, as QEMU's does on the standard output of its process; without it, in the command's reply. */
  console?: (text: string, stream: "stdout" | "stderr") => void;
  /** An empty file for the writes of a drive with `snapshot=on`, that nobody keeps; without it there are none. */
  temporaryFile?: () => Storage;
  /** Called by the command `quit`, which is answered when what this returns has ended. */
  onQuit?: () => void | Promise<void>;
  /**
   * Whether guests run at first; "prelaunch": not before `cont`; "inmigrate": they are still elsewhere, and nodes are opened inactive
   * (`block/activation.ts`). Default "running".
   */
  runState?: "running" | "prelaunch" | "inmigrate";
  /** What the machine is called, for query-name and query-uuid. */
  identity?: Identity;
  /** Nanoseconds that every request of a guest is said to take, for tests that compare statistics. */
  fixedLatency?: number;
  /** Time of throttling and of statistics; the system's by default. */
  clock?: Clock;
  /** Commands of the program's own; one of the same name stands in for that of the block layer. */
  commands?: readonly Command[];
  /** The same for the human monitor: commands, and what comes after `info`. */
  humanCommands?: Partial<HumanCommands>;
}

export interface Identity {
  name?: string;
  /** As text: 8-4-4-4-12 hexadecimal digits. */
  uuid?: string;
}

const EVERYTHING: number = Permission.consistentRead | Permission.write | Permission.writeUnchanged | Permission.resize;

export class BlockCore {
  readonly profile: Profile;
  readonly environment: Environment;
  readonly devices: DeviceList = new DeviceList();
  /** The machine that guest devices are in. */
  readonly machine: Machine;
  readonly identity: Identity;
  readonly throttleGroups: ThrottleGroupList;
  readonly clock: Clock;
  /** Passwords on their way to an image (block_passwd). */
  readonly passwords: Map<string, Uint8Array> = new Map();
  readonly nodes: NodeList;
  /** Those of the program itself who read and write nodes. */
  readonly handles: Set<Backend> = new Set();
  readonly jobs: JobList;
  readonly exports: ExportList;
  readonly objects: ObjectList;
  readonly onQuit: () => void | Promise<void>;
  readonly temporaryFile: NonNullable<BlockCoreOptions["temporaryFile"]> | null;
  readonly console: NonNullable<BlockCoreOptions["console"]> | null;
  readonly readFile: NonNullable<BlockCoreOptions["readFile"]> | null;
  /** What the human monitor has beside the commands about disks. */
  readonly humanCommands: HumanCommands;
  readonly #ownCommands: readonly Command[];
  readonly #events = new Emitter<{ event: QmpEvent }>();
  readonly #gate: EventGate;
  readonly #fixedLatency: number | undefined;
  readonly #turn = new Mutex();
  #closed = false;

  constructor(options: BlockCoreOptions) {
    this.profile = options.profile ?? "qemu-7.2";
    this.onQuit = options.onQuit ?? ((): void => {});
    this.console = options.console ?? null;
    this.temporaryFile = options.temporaryFile ?? null;
    this.readFile = options.readFile ?? null;
    this.humanCommands = { commands: [], info: [], ...options.humanCommands };
    this.#ownCommands = options.commands ?? [];
    const outer = options.environment;
    this.#fixedLatency = options.fixedLatency;
    this.clock = options.clock ?? systemClock;
    this.machine = new Machine(options.runState ?? "running", (running) => this.emit(running ? "RESUME" : "STOP"));
    this.identity = options.identity ?? {};
    this.throttleGroups = new ThrottleGroupList(this.clock);
    this.objects = new ObjectList(options.readFile ?? null, this.throttleGroups, options.makeObject);
    this.environment = {
      ...outer,
      findObject: (id) => core.objects.find(id)?.made ?? outer.findObject?.(id),
      findNode: (name) => this.nodes.find(name) ?? this.devices.get(name)?.backend.root ?? null,
      findThrottleGroup: (name) => this.throttleGroups.find(name) ?? outer.findThrottleGroup?.(name) ?? null,
      onEvent: (name, data) => {
        outer.onEvent?.(name, data);
        this.emit(name, data as QmpEvent["data"]);
      },
      *secrets(id, purpose): Op<Uint8Array | null> {
        return core.passwords.get(id) ?? core.objects.secret(id) ?? (yield* outer.secrets(id, purpose));
      },
      imageCorrupted: (event) => {
        outer.imageCorrupted?.(event);
        const device = this.deviceOf(event.node);
        this.emit("BLOCK_IMAGE_CORRUPTED", {
          device: device?.name ?? "",
          "node-name": this.profile === "qemu-7.2" ? event.node.nodeName : undefined,
          msg: event.message,
          offset: event.offset,
          fatal: event.fatal,
        });
      },
    };
    // oxlint-disable-next-line typescript/no-this-alias
    const core = this;
    this.nodes = new NodeList(() => this.#anchors());
    this.jobs = new JobList(this);
    this.exports = new ExportList(this, options.listen ?? null);
    this.#gate = new EventGate((event) => this.#events.emit("event", event));
  }

  *#anchors(): Iterable<Node> {
    for (const device of this.devices.values()) if (device.backend.root !== null) yield device.backend.root;
    for (const { root } of this.handles) if (root !== null) yield root;
    yield* this.exports.nodes();
    yield* this.jobs.nodes();
  }

  // ---- events -------------------------------------------------------------------------------------------------------

  emit(event: string, data: QmpEvent["data"] = {}): void {
    const now = this.environment.now();
    const seconds = Math.floor(now / 1000);
    this.#gate.pass({ event, data, timestamp: { seconds, microseconds: Math.round((now - seconds * 1000) * 1000) % 1_000_000 } });
  }
  /** Calls `listener` for every event from now on; the result ends that. */
  on(listener: (event: QmpEvent) => void): () => void {
    return this.#events.on("event", listener);
  }
  /** Events as they come, until `signal` or `break`. */
  events(signal?: AbortSignal): AsyncGenerator<QmpEvent, void, undefined> {
    return this.#events.iterate("event", signal);
  }

  // ---- commands -----------------------------------------------------------------------------------------------------

  commands(): readonly Command[] {
    const own = this.#ownCommands;
    const known = commandsOf(this.profile);
    return own.length === 0 ? known : [...own, ...known.filter(({ name }) => own.every((each) => each.name !== name))];
  }

  /**
   * Runs a command, after those under way: QMP commands take turns.
   * @throws BlockError with the class and the words of QMP
   */
  async execute(name: string, args: JsonObject = {}): Promise<JsonValue> {
    return (await runAsync(this.#inTurn(this.#find(name), args))) as JsonValue;
  }

  /** Runs a command as part of the one whose turn it is. */
  *perform(name: string, args: JsonObject = {}): Op<Reply> {
    return (yield* this.#run(this.#find(name), args)) ?? {};
  }

  #find(name: string): Command {
    const found = this.#ownCommands.find((each) => each.name === name) ?? findCommand(this.profile, name);
    if (found === null)
      throw new BlockError("ERR_UNSUPPORTED", `The command ${name} has not been found`, { qmpClass: "CommandNotFound" });
    return found;
  }

  *#inTurn(found: Command, args: JsonObject): Op<Reply> {
    const done = yield* this.#turn.acquire();
    try {
      return (yield* this.#run(found, args)) ?? {};
    } catch (error) {
      throw toBlockError(error);
    } finally {
      done();
    }
  }

  #run(found: Command, args: JsonObject): Op<Reply> {
    const schema = this.profile === "qemu-2.2" && found.arguments22 !== undefined ? found.arguments22 : found.arguments;
    let checked: JsonObject = {};
    if (schema !== null) checked = schema.validate(args) as JsonObject;
    else
      for (const extra of Object.keys(args)) throw new BlockError("ERR_INVALID_ARGUMENT", `Parameter '${extra}' is unexpected`);
    return found.run(this, checked);
  }

  // ---- looking things up --------------------------------------------------------------------------------------------

  deviceOf(node: Node): Device | null {
    for (const device of this.devices.values()) if (device.backend.root === node) return device;
    return null;
  }

  /** The node that a device or node name means. */
  lookup(device: string | undefined, nodeName: string | undefined): Node {
    if (device !== undefined) {
      const found = this.devices.get(device);
      if (found !== undefined) {
        if (found.backend.root === null)
          throw new BlockError("ERR_NOT_FOUND", `Device '${device}' has no medium`, { errno: "ENOMEDIUM" });
        return found.backend.root;
      }
    }
    if (nodeName !== undefined) {
      const node = this.nodes.find(nodeName);
      if (node !== null) return node;
    }
    throw dialectError(this.profile, "no-such-device", `Cannot find device='${device ?? ""}' nor node-name='${nodeName ?? ""}'`);
  }
  node(name: string): Node {
    return this.lookup(undefined, name);
  }
  /** A device or node of this name. */
  any(name: string): Node {
    return this.lookup(name, name);
  }
  /** A device or node of this name that nothing stands on. */
  root(name: string): Node {
    const node = this.any(name);
    if (node.parents.length > 0) throw new BlockError("ERR_INVALID_ARGUMENT", "Need a root block node");
    return node;
  }

  /** Refuses nodes that a job (or another user) has for itself. */
  checkFree(node: Node): void {
    for (const reason of node.blockers.values()) {
      throw dialectError(this.profile, "busy-device", `Node '${this.deviceOf(node)?.name ?? node.nodeName}' is busy: ${reason}`);
    }
  }

  /** How nodes are opened that users ask for: not for themselves as long as the machine is elsewhere. */
  openFlags(flags: Partial<OpenFlags>): OpenFlags {
    return { ...READ_WRITE, ...(this.machine.state === "inmigrate" ? { inactive: true } : {}), ...flags };
  }

  // ---- devices ------------------------------------------------------------------------------------------------------

  /**
   * Makes a drive, with a medium or without; takes a reference of its own to the node.
   * @param name "" for one that only its guest device knows
   */
  addDevice(name: string, node: Node | null, options: DeviceOptions = {}): Device {
    if (name !== "") {
      if (this.devices.has(name)) throw new BlockError("ERR_EXISTS", `Device with id '${name}' already exists`);
      if (this.nodes.find(name) !== null)
        throw new BlockError("ERR_EXISTS", `Device name '${name}' conflicts with an existing node name`);
    }
    const device = new Device(name, node, this.machine, this.#deviceEvents, {
      ...options,
      accounting: {
        clock: this.clock,
        ...(this.#fixedLatency === undefined ? {} : { fixedLatency: this.#fixedLatency }),
        ...options.accounting,
      },
    });
    this.devices.add(device);
    return device;
  }

  /**
   * Puts a guest device in front of a drive.
   * @param shareRw others may write to its medium, too (`share-rw`)
   * @throws BlockError when there is one already, or others write to the medium
   */
  attachDevice(device: Device, frontEnd: FrontEnd, shareRw = false): void {
    if (device.frontEnd !== null)
      throw new BlockError("ERR_BUSY", `Drive '${device.name}' is already in use by another block device`);
    const { backend } = device;
    const before = backend.permissions;
    backend.deviceId = frontEnd.id ?? frontEnd.qdev;
    // A guest must be the only one who changes its disk; others may read along. One that is still elsewhere does nothing yet.
    const { machine } = this;
    const mayShare = Permission.consistentRead | Permission.writeUnchanged | (frontEnd.removable ? 0 : Permission.resize);
    backend.permissions = {
      needed: Permission.consistentRead | (device.root.readOnly ? 0 : Permission.write),
      get shared() {
        return machine.state === "inmigrate" ? EVERYTHING : mayShare | (shareRw ? Permission.write : 0);
      },
    };
    try {
      if (backend.root !== null) checkPermissions(backend.root);
    } catch (error) {
      backend.permissions = before;
      backend.deviceId = "";
      throw error;
    }
    device.attach(frontEnd);
  }

  /** Takes the guest device away; the drive stays. */
  detachDevice(device: Device): void {
    device.backend.permissions = undefined;
    device.backend.deviceId = "";
    device.detach();
  }

  /** Ends a drive; its node closes when nobody else uses it. */
  *removeDevice(device: Device): Op<void> {
    this.devices.remove(device);
    this.throttleGroups.leave(device.backend);
    yield* device.backend.close();
  }

  readonly #deviceEvents: DeviceEvents = {
    ioError: (device, operation, action, error) => {
      const modern = this.profile === "qemu-7.2";
      const node = device.backend.root;
      this.emit("BLOCK_IO_ERROR", {
        device: device.name,
        "node-name": modern && node !== null ? node.nodeName : undefined,
        operation,
        action,
        nospace: device.hasIoStatus ? error.errno === "ENOSPC" : modern ? false : undefined,
        reason: strerror(error.errno),
      });
    },
    trayMoved: (device) => {
      this.emit("DEVICE_TRAY_MOVED", {
        device: device.name,
        id: this.profile === "qemu-7.2" ? (device.frontEnd?.id ?? "") : undefined,
        "tray-open": device.isTrayOpen,
      });
    },
  };

  // ---- end ----------------------------------------------------------------------------------------------------------

  /** Ends jobs, exports and devices, and closes every node. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.throttleGroups.release();
    await this.jobs.stopAll();
    await this.exports.stopAll();
    const failures: unknown[] = [];
    const attempt = async (op: Op<void>): Promise<void> => {
      try {
        await runAsync(op);
      } catch (error) {
        failures.push(error);
      }
    };
    for (const handle of this.handles) await attempt(handle.close());
    this.handles.clear();
    for (const device of [...this.devices.values()]) await attempt(this.removeDevice(device));
    for (const node of [...this.nodes.owned].reverse()) await attempt(node.unref());
    this.nodes.owned.clear();
    if (failures.length > 0) throw failures[0];
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
