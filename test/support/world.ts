/**
 * A block layer in memory for tests: files by name, and one of three ways to drive Ops. No platform imports: runs in browsers too.
 *
 *  - "sync": storages with a synchronous face only, `runSync`.
 *  - "async": storages with an asynchronous face only that answer after seeded delays, `runAsync`.
 *  - "seeded": `runInterleaved`: every request at a moment chosen by the seed; runs again alike from the same seed.
 */
import { offerJsonNames } from "../../src/block/json-names.js";
import { jsonNames } from "../../src/block/json-names-qapi.js";
import { errnoError } from "../../src/base/error.js";
import type { BlockdevOptions, Environment, GateDecision, OpenFlags } from "../../src/block/context.js";
import { createImage } from "../../src/block/create.js";
import type { Driver } from "../../src/block/driver.js";
import type { Node } from "../../src/block/node.js";
import { openNode } from "../../src/block/open.js";
import { done, runAsync, runSync, type Op, type Outcome } from "../../src/block/op.js";
import { protocolDriver } from "../../src/block/protocol.js";
import { portableCrypto } from "../../src/codec/crypto/portable-crypto.js";
import { portableCodecs } from "../../src/codec/portable.js";
import { memoryStorage, type MemoryStorage } from "../../src/storage/memory.js";
import { closedError, readOnlyError } from "../../src/storage/shared/checks.js";
import type { Storage, SyncStorageFace } from "../../src/storage/storage.js";
import { delayed } from "./delayed.js";
import { random, type Random } from "./random.js";
import { runInterleaved, type SchedulerOptions } from "./scheduler.js";

export type Mode = "sync" | "async" | "seeded";
export const MODES: readonly Mode[] = ["sync", "async", "seeded"];

export interface World {
  readonly mode: Mode;
  readonly environment: Environment;
  /** The media: what a file holds whoever has it open. */
  readonly files: Map<string, MemoryStorage>;
  /** Messages of `environment.warn`. */
  readonly warnings: string[];
  run<T>(op: Op<T>): Promise<T>;
  /** All at once (one after the other in "sync"); outcomes in order. */
  runAll(ops: readonly Op<unknown>[]): Promise<Outcome[]>;
  create(driver: string, filename: string, size: number, options?: Readonly<Record<string, unknown>>): Promise<void>;
  open(driver: string | null, filename: string, flags?: Partial<OpenFlags>, options?: BlockdevOptions): Promise<Node>;
  close(node: Node): Promise<void>;
  /** The whole content of a file. */
  bytes(filename: string): Uint8Array;
}

export interface WorldOptions {
  mode: Mode;
  drivers: readonly Driver[];
  seed?: number;
  /** Called before each request in "seeded" mode. */
  before?: SchedulerOptions["before"];
  /** Passphrases by id. */
  secrets?: Readonly<Record<string, string>>;
  /** Without holes, discard and write-zeroes on the storages. */
  plain?: boolean;
}

export function makeWorld(given: WorldOptions): World {
  const { mode } = given;
  const chance = random(given.seed ?? 1);
  const files = new Map<string, MemoryStorage>();
  const warnings: string[] = [];
  const openFile = (filename: string, options: { readOnly: boolean }): Storage => {
    const medium = files.get(filename);
    if (medium === undefined) throw errnoError("ENOENT", undefined, { node: filename });
    return handle(filename, medium, options.readOnly, mode, chance, given.plain === true);
  };
  const createFile = (filename: string): Storage => {
    const medium = files.get(filename);
    if (medium === undefined) files.set(filename, memoryStorage(0, { name: filename }));
    else medium.sync.truncate(0);
    return openFile(filename, { readOnly: false });
  };
  const file = protocolDriver({
    name: "file",
    open: { sync: openFile, async: mode === "async" ? async (name, options) => openFile(name, options) : null },
    create: { sync: createFile, async: mode === "async" ? async (name) => createFile(name) : null },
  });
  offerJsonNames(jsonNames);
  const environment: Environment = {
    drivers: new Map([...given.drivers, file].map((driver) => [driver.name, driver])),
    codecs: portableCodecs,
    crypto: portableCrypto,
    gate: () => done<GateDecision>(true),
    secrets: (id) => done(given.secrets?.[id] === undefined ? null : new TextEncoder().encode(given.secrets[id])),
    now: () => 1_700_000_000_000,
    memoryBudget: 8 * 1024 * 1024,
    warn: (message) => void warnings.push(message),
  };
  const world: World = {
    mode,
    environment,
    files,
    warnings,
    async run<T>(op: Op<T>): Promise<T> {
      if (mode === "sync") return runSync(op);
      if (mode === "async") return await runAsync(op);
      const [outcome] = runInterleaved(chance, [op], schedulerOptions(given));
      if (outcome!.ok) return outcome!.value as T;
      throw outcome!.error;
    },
    async runAll(ops) {
      if (mode === "seeded") return runInterleaved(chance, ops, schedulerOptions(given));
      const outcome = async (op: Op<unknown>): Promise<Outcome> => {
        try {
          return { ok: true, value: await world.run(op) };
        } catch (error) {
          return { ok: false, error };
        }
      };
      if (mode === "async") return await Promise.all(ops.map(outcome));
      const outcomes: Outcome[] = [];
      for (const op of ops) outcomes.push(await outcome(op));
      return outcomes;
    },
    async create(driver, filename, size, options = {}) {
      const found = environment.drivers.get(driver);
      if (found === undefined) throw new Error(`the world has no driver '${driver}'`);
      await world.run(createImage(environment, { driver: found, filename, size, options }));
    },
    open(driver, filename, flags = { write: true, unmap: true }, options = {}) {
      return world.run(openNode(environment, { filename, options, flags, ...(driver === null ? {} : { driver }) }));
    },
    close: (node) => world.run(node.unref()),
    bytes(filename) {
      const medium = files.get(filename);
      if (medium === undefined) throw new Error(`the world has no file '${filename}'`);
      return medium.toBytes();
    },
  };
  return world;
}

const schedulerOptions = (given: WorldOptions): SchedulerOptions => (given.before === undefined ? {} : { before: given.before });

/** One opening of a file: closing it leaves the medium alone. */
function handle(name: string, medium: MemoryStorage, readOnly: boolean, mode: Mode, chance: Random, plain: boolean): Storage {
  let closed = false;
  const face = medium.sync;
  const guard =
    <A extends unknown[], R>(operation: string, writes: boolean, work: (...args: A) => R) =>
    (...args: A): R => {
      if (closed) throw closedError(name, operation);
      if (writes && readOnly) throw readOnlyError(name, operation);
      return work(...args);
    };
  const sync: SyncStorageFace = {
    read: guard("read", false, (into, offset) => face.read(into, offset)),
    write: guard("write", true, (from, offset) => face.write(from, offset)),
    flush: guard("flush", false, () => face.flush()),
    size: guard("size", false, () => face.size()),
    truncate: guard("truncate", true, (size) => face.truncate(size)),
    close: () => void (closed = true),
    ...(plain
      ? {}
      : {
          writeZeroes: guard("write-zeroes", true, (offset: number, length: number, flags: object) =>
            face.writeZeroes!(offset, length, flags),
          ),
          discard: guard("discard", true, (offset: number, length: number) => face.discard!(offset, length)),
          extents: guard("extents", false, (offset: number, length: number) => face.extents!(offset, length)),
          allocatedSize: guard("allocated-size", false, () => face.allocatedSize!()),
        }),
  };
  const base = {
    kind: "memory" as const,
    name,
    readOnly,
    alignment: 1,
    fixedSize: false,
    reopen: (ro: boolean): Storage => handle(name, medium, ro, mode, chance, plain),
  };
  if (mode !== "async") return { ...base, sync, async: null };
  return { ...base, sync: null, async: delayed(sync, chance) };
}
