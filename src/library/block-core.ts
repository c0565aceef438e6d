/**
 * `BlockCore` of the package: QEMU's block layer as one object in this process, page or worker. Commands of QMP with their types,
 * events, jobs as objects, disks to read and write beside them, and monitors for others on any connection.
 */
import { BlockError } from "../base/error.js";
import type { BlockdevOptions, Environment, GateDecision, Reference } from "../block/context.js";
import type { Driver } from "../block/driver.js";
import { done, foreign, runAsync, type Op } from "../block/op.js";
import { protocolDriver } from "../block/protocol.js";
import type { Codecs } from "../codec/codec.js";
import type { Crypto } from "../codec/crypto/crypto.js";
import { httpDrivers } from "../platform/http-drivers.js";
import { offerJsonNames } from "../block/json-names.js";
import { jsonNames } from "../block/json-names-qapi.js";
import { offerKernelModule } from "../kernel/kernel.js";
import type { Between } from "../jobs/journal.js";
import { kernelModule } from "../kernel/module.inline.js";
import { checkOptions } from "../image/arguments.js";
import { checkReferences, secretOf } from "./environment.js";
import type { SecretSource } from "./options.js";
import type { Duplex } from "../nbd/duplex.js";
import type { JsonObject } from "../qapi/json.js";
import { BlockCore as Core, type BlockCoreOptions as CoreOptions } from "../qmp/block-core.js";
import type { Profile } from "../qmp/command.js";
import { Disk } from "../qmp/disk.js";
import { HmpMonitor } from "../qmp/hmp/monitor.js";
import { JobHandle } from "../qmp/job-handle.js";
import { serveMonitor, type MonitorOptions } from "../qmp/server.js";
import type { Commands22, Commands72, Events } from "../qmp/types.js";
import { NamedFiles, type SchemeOpener } from "../platform/named-files.js";
import type { Storage } from "../storage/storage.js";

export interface Dialects {
  "qemu-7.2": Commands72;
  "qemu-2.2": Commands22;
}
export type CommandName<P extends Profile = "qemu-7.2"> = keyof Dialects[P] & string;
type Shape<P extends Profile, N extends CommandName<P>> = Dialects[P][N] extends { arguments: infer A; returns: infer R }
  ? { arguments: A; returns: R }
  : never;
export type CommandArguments<N extends CommandName<P>, P extends Profile = "qemu-7.2"> = Shape<P, N>["arguments"];
export type CommandResult<N extends CommandName<P>, P extends Profile = "qemu-7.2"> = Shape<P, N>["returns"];
type ArgumentList<A> = Record<string, never> extends A ? [args?: A] : [args: A];

/** Commands that start one job. */
export type JobCommand<P extends Profile = "qemu-7.2"> = CommandName<P> &
  (
    | "block-commit"
    | "block-stream"
    | "blockdev-backup"
    | "blockdev-create"
    | "blockdev-mirror"
    | "drive-backup"
    | "drive-mirror"
    | "x-blockdev-amend"
  );

export type EventName = keyof Events;
export type BlockEvent<N extends EventName = EventName> = {
  [K in N]: { event: K; data: Events[K]; timestamp: { seconds: number; microseconds: number } };
}[N];

export interface BlockCoreOptions<P extends Profile = Profile, Source = Storage> {
  /** The dialect: "qemu-7.2" when absent. */
  profile?: P;
  /** What file names stand for. In Node.js other names are those of files. */
  files?: Readonly<Record<string, Source>>;
  /** The formats that may be used; those of the entry when absent. */
  formats?: readonly Driver[];
  /**
   * Whether files that images name (backing files, data files) may be opened. Those of `files`, and those made by commands, always
   * may be; others not when absent ("deny").
   */
  references?: "deny" | "allow" | ((reference: Reference) => boolean | Promise<boolean>);
  /** Passphrases by id, besides those of `object-add`. */
  secrets?: SecretSource;
  /** Bytes of table caches per image. */
  memoryBudget?: number;
  /** Messages that are not errors. */
  onWarning?: (message: string) => void;
  /** Called by the command `quit`. */
  onQuit?: () => void;
}

export interface GuestOptions {
  /** Default: report. */
  rerror?: "report" | "ignore" | "stop";
  /** Default: enospc. */
  werror?: "report" | "ignore" | "enospc" | "stop";
  /** Has a tray and takes other media. */
  removable?: boolean;
}

export interface BlockCorePlatform<Source> {
  formats: readonly Driver[];
  codecs: Codecs;
  crypto: Crypto;
  memoryBudget?: number;
  /** Filters and whatever else has nodes. */
  drivers: readonly Driver[];
  /** Opens names with a scheme. */
  schemes: Readonly<Record<string, SchemeOpener>>;
  toStorage(source: Source): Storage | Promise<Storage>;
  /** Where names that are not of `files` are files of the host. */
  hostFile?: Driver;
  core?: Partial<CoreOptions>;
}

/** Commands whose jobs can go on after the process has died; a stream does that by itself. */
const JOURNALED: ReadonlySet<string> = new Set([
  "blockdev-mirror",
  "drive-mirror",
  "blockdev-backup",
  "drive-backup",
  "block-commit",
]);
const DEFAULT_BUDGET = 16 * 1024 * 1024;

const OPTIONS: readonly string[] = [
  "profile",
  "files",
  "formats",
  "references",
  "secrets",
  "memoryBudget",
  "onWarning",
  "onQuit",
];

export class BlockCore<P extends Profile = "qemu-7.2", Source = Storage> {
  readonly #core: Core;
  readonly #files: NamedFiles;
  #closed = false;

  /** @throws BlockError ERR_INVALID_ARGUMENT for options that there are not */
  constructor(platform: BlockCorePlatform<Source>, options: BlockCoreOptions<P, Source> = {}) {
    checkOptions("BlockCore", options, OPTIONS);
    if (options.profile !== undefined && options.profile !== "qemu-7.2" && options.profile !== "qemu-2.2")
      throw new BlockError("ERR_INVALID_ARGUMENT", 'profile must be "qemu-7.2" or "qemu-2.2"');
    this.#files = new NamedFiles(platform.schemes);
    for (const [name, source] of Object.entries(options.files ?? {})) this.#files.add(name, platform.toStorage(source));
    this.#core = new Core({
      ...platform.core,
      environment: environmentOf(platform, options, this.#files),
      ...(options.profile === undefined ? {} : { profile: options.profile }),
      ...(options.onQuit === undefined ? {} : { onQuit: options.onQuit }),
    });
  }

  get profile(): P {
    return this.#core.profile as P;
  }

  // ---- commands and events ----------------------------------------------------------------------------------------

  /**
   * Runs a command of QMP; commands take turns. Integers beyond 2^53 may be passed as bigint.
   * @throws BlockError with QEMU's words; `qmpClass` is QMP's error class. ERR_CLOSED after `close()`
   */
  async execute<N extends CommandName<P>>(
    name: N,
    ...[args]: ArgumentList<CommandArguments<N, P>>
  ): Promise<CommandResult<N, P>> {
    return (await this.#run(name, args ?? {})) as CommandResult<N, P>;
  }

  async #run(name: string, args: object): Promise<unknown> {
    if (this.#closed) throw new BlockError("ERR_CLOSED", `'${name}' came after close()`);
    return this.#core.execute(name, withoutUndefined(args as JsonObject));
  }

  /** Calls `listener` for every event of this name from now on; the result ends that. */
  on<N extends EventName>(name: N, listener: (event: BlockEvent<N>) => void): () => void {
    return this.#core.on((event) => {
      if (event.event === name) listener(event as unknown as BlockEvent<N>);
    });
  }
  /** Events as they come, until `signal` or `break`; at most 10,000 wait to be taken. */
  events(signal?: AbortSignal): AsyncGenerator<BlockEvent, void, undefined> {
    return this.#core.events(signal) as unknown as AsyncGenerator<BlockEvent, void, undefined>;
  }

  // ---- jobs -------------------------------------------------------------------------------------------------------

  /**
   * Runs a command that starts a job, and gives the job: `job.ready`, `job.completed`, `job.pause()`, …
   *
   * With a `journal` (a writable storage of its own, empty at first) a mirror, a backup or a commit of the active layer that was under
   * way when the process died goes on where it was, when it is started again alike. `between` says whether the source may have been
   * written since: "unknown" when absent.
   */
  async start<N extends JobCommand<P>>(
    name: N,
    args: CommandArguments<N, P>,
    options: { journal?: Storage; between?: Between; checkpointBytes?: number } = {},
  ): Promise<JobHandle> {
    const { "job-id": given, device } = args as { "job-id"?: string; device?: string };
    const id = given ?? device ?? "";
    const { journal, ...settings } = options;
    const { journals } = this.#core.jobs;
    if (journal !== undefined) {
      if (!JOURNALED.has(name)) throw new BlockError("ERR_UNSUPPORTED", `Jobs of ${name} keep no journal`);
      journals.set(id, { storage: journal, ...settings });
    }
    try {
      await this.#run(name, args as object);
    } finally {
      journals.delete(id);
    }
    return this.job(id);
  }
  /** The job of this ID. @throws BlockError "Job not found" */
  job(id: string): JobHandle {
    return new JobHandle(this.#core.jobs.find(id), this.profile === "qemu-2.2");
  }
  /** The newest first. */
  jobs(): JobHandle[] {
    return this.#core.jobs.all().map((job) => new JobHandle(job, this.profile === "qemu-2.2"));
  }

  // ---- disks and files --------------------------------------------------------------------------------------------

  /** A device (as its guest) or a node, to be read and written beside exports and jobs. @throws BlockError when there is none */
  disk(name: string): Disk {
    const device = this.#core.devices.get(name);
    return device === undefined ? Disk.ofNode(this.#core.any(name), this.#core.handles) : Disk.ofDevice(device);
  }
  /**
   * Makes a drive: a device with a name, with the node `nodeName` as its medium (null: none yet).
   * @param guest a guest device in front of it, which `disk(name)` is: what becomes of its I/O errors, whether its media change.
   *   With `stop` the machine stops (events BLOCK_IO_ERROR and STOP) and the request is made again after the command `cont`
   */
  addDrive(name: string, nodeName: string | null, guest?: GuestOptions): void {
    const { rerror, werror, removable = false } = guest ?? {};
    const device = this.#core.addDevice(name, nodeName === null ? null : this.#core.node(nodeName), {
      ...(rerror === undefined ? {} : { rerror }),
      ...(werror === undefined ? {} : { werror }),
    });
    if (guest !== undefined)
      this.#core.attachDevice(device, { id: name, qdev: name, removable, tray: removable, ioStatus: true });
  }
  /** Gives a storage a file name, as `files` does. @throws BlockError ERR_EXISTS */
  addFile(name: string, storage: Storage): void {
    this.#files.add(name, storage);
  }
  /** The storage of a file name that was given, or that a command made in memory; null when there is none. */
  file(name: string): Promise<Storage | null> {
    return this.#files.get(name);
  }

  /** Serves a QMP client on a connection (`messageDuplex`, `webDuplex`, a socket) until it goes. Never throws. */
  serve(connection: Duplex, options: MonitorOptions = {}): Promise<void> {
    return serveMonitor(this.#core, connection, options);
  }

  /** Serves a person at a terminal: the human monitor, with its prompt and echo, until the other side goes. Never throws. */
  async serveHuman(connection: Duplex): Promise<void> {
    const monitor = new HmpMonitor(this.#core, connection, { version: this.profile.replace("qemu-", ""), isEnding: () => false });
    await monitor.greet().catch(() => {});
    await monitor.serve();
  }

  /** Starts the NBD server for connections that are handed over (`serveNbd`), where nothing listens: browsers, workers. */
  startNbd(options: { maxConnections?: number } = {}): Promise<void> {
    return runAsync(this.#core.exports.start(null, options.maxConnections ?? 0));
  }

  /** Serves an NBD client of the exports on a connection until it goes. The server runs (`startNbd`, `nbd-server-start`). */
  async serveNbd(connection: Duplex): Promise<void> {
    await this.#core.exports.accept(connection);
  }

  /** Cancels jobs, ends exports and closes all nodes. Storages of `files` stay open. */
  async close(): Promise<void> {
    this.#closed = true;
    try {
      await this.#core.close();
    } finally {
      await this.#files.close();
    }
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Members that are undefined are members that are not there. */
function withoutUndefined<T>(value: T): T {
  if (Array.isArray(value)) return value.map(withoutUndefined) as T;
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, member]) => member !== undefined);
  return Object.fromEntries(entries.map(([name, member]) => [name, withoutUndefined(member as unknown)])) as T;
}

function environmentOf<Source>(
  platform: BlockCorePlatform<Source>,
  options: BlockCoreOptions<Profile, Source>,
  files: NamedFiles,
): Environment {
  offerKernelModule(kernelModule);
  offerJsonNames(jsonNames);
  const { references = "deny", secrets = {} } = options;
  checkReferences(references);
  const drivers = [...(options.formats ?? platform.formats), ...httpDrivers(), ...platform.drivers, fileDriver(files, platform)];
  return {
    drivers: new Map(drivers.map((driver) => [driver.name, driver])),
    codecs: platform.codecs,
    crypto: platform.crypto,
    *gate(reference): Op<GateDecision> {
      if (references === "allow" || files.has(reference.resolved)) return true;
      if (references === "deny") return false;
      return (yield* foreign("Asking whether a reference may be opened", null, async () => references(reference))) as boolean;
    },
    secrets: (id) => secretOf(secrets, id),
    now: () => Date.now(),
    memoryBudget: options.memoryBudget ?? platform.memoryBudget ?? DEFAULT_BUDGET,
    warn: options.onWarning ?? (() => {}),
  };
}

/** "file": the names that were given, and then what the platform opens by name. */
function fileDriver<Source>(files: NamedFiles, platform: BlockCorePlatform<Source>): Driver {
  const named = protocolDriver({
    name: "file",
    schemes: Object.keys(platform.schemes),
    open: files.open,
    create: files.create,
    remove: files.remove,
  });
  const host = platform.hostFile;
  if (host === undefined) return named;
  const given = (filename: unknown): boolean => typeof filename === "string" && files.has(filename);
  return {
    ...host,
    open: (context) => (given((context.options as BlockdevOptions)["filename"]) ? named.open(context) : host.open(context)),
    createFile: (environment, filename) => (given(filename) ? named : host).createFile!(environment, filename),
    deleteFile: (filename) => (given(filename) ? named : host).deleteFile?.(filename) ?? done(undefined),
  };
}
