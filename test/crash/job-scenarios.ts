/**
 * Jobs under a guest while the power may fail: several images, one order of everything that reached them.
 *
 * Each medium forgets by itself: what was written to it since its last flush may be there, or not, or in part.
 */
import { Backend } from "../../src/block/backend.js";
import { flush, readBytes } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import type { Op } from "../../src/block/op.js";
import { qcow2 } from "../../src/formats/qcow2/qcow2.js";
import { raw } from "../../src/formats/raw/raw.js";
import { backupDriver, type BackupDriver } from "../../src/jobs/backup.js";
import { activeCommitDriver } from "../../src/jobs/commit-active.js";
import { commitDriver } from "../../src/jobs/commit.js";
import { insertJobFilter, removeJobFilter, type JobFilterOptions } from "../../src/jobs/filter.js";
import { Job, type JobDriver } from "../../src/jobs/job.js";
import type { ErrorPolicies } from "../../src/jobs/job-io.js";
import { JobJournal, type JournalOptions } from "../../src/jobs/journal.js";
import { mirrorDriver } from "../../src/jobs/mirror.js";
import { streamDriver } from "../../src/jobs/stream.js";
import type { Storage } from "../../src/storage/storage.js";
import { memoryStorage, type MemoryStorage } from "../../src/storage/memory.js";
import { random, type Random } from "../support/random.js";
import { recordingStorage, type LogLine } from "../support/recording.js";
import { makeWorld, type World } from "../support/world.js";
import { SECTOR } from "./promises.js";

export const JOB_KINDS = [
  "stream",
  "partial stream",
  "commit",
  "active commit",
  "mirror",
  "blocking mirror",
  "backup",
  "journaled mirror",
  "journaled blocking mirror",
  "journaled backup",
] as const;
export type JobKind = (typeof JOB_KINDS)[number];

export const SIZE: number = 128 * 1024;
const CLUSTER = 4096;
/** Of backup. */
const UNIT = 8192;
const FILES = ["base", "middle", "top", "target"] as const;
/** Besides the images. */
const JOURNAL = "journal";
export type FileName = (typeof FILES)[number] | typeof JOURNAL;

/** What happened, in the order in which it happened. */
export type Happening =
  | { what: "medium"; file: FileName; line: LogLine }
  | { what: "change"; id: number; offset: number; value: Buffer | null; length: number }
  | { what: "acknowledged"; id: number }
  | { what: "flushed"; covers: ReadonlySet<number> }
  /** The guest's disk is about to be, or is, another image: until then `from` holds it, then `to`. */
  | { what: "moving" | "moved"; to: FileName }
  /** The job has ended well. */
  | { what: "done" };

export interface JobRun {
  /** Images when recording began. */
  media: Map<FileName, Buffer>;
  happenings: Happening[];
  /** The disk when the job began. */
  before: Buffer;
}

export interface JobRunOptions {
  /** Breaks the top image's driver before the job: for a test that the judge notices. */
  sabotage?(top: Node): void;
}

const policies: ErrorPolicies = { read: "report", write: "report", events: { error: () => {} } };

export async function runJob(kind: JobKind, seed: number, options: JobRunOptions = {}): Promise<JobRun> {
  const chance = random(seed);
  const world = makeWorld({ mode: "seeded", drivers: [raw, qcow2], seed });
  const before = await makeChain(world, chance);
  const happenings: Happening[] = [];
  const media = record(world, happenings);
  const top = await world.open("qcow2", "top");
  const target = await world.open("qcow2", "target");
  options.sabotage?.(top);
  const device = new Backend("disk", top);
  const guest = new Guest(device, chance, happenings);
  const base = top.backing!.backing!;
  const journalOf = (storage: Storage): JournalOptions => ({ storage, between: "unchanged", checkpointBytes: 16 * 1024 });
  const journal = kind.startsWith("journaled")
    ? await world.run(JobJournal.open(journalOf(world.files.get(JOURNAL)!), journaled(kind)))
    : undefined;
  const { driver, filter, moves } = plan(kind, top, base, target, happenings, journal);
  if ("begin" in driver) await world.run((driver as BackupDriver).begin());
  const job = newJob(driver);
  const above = await world.run(insertJobFilter(filter));
  function* life(): Op<void> {
    yield* job.run();
    if (job.error !== null) throw job.error;
    happenings.push({ what: "done" });
    if (moves !== null) happenings.push({ what: "moved", to: moves });
    yield* removeJobFilter(above);
  }
  function* operator(): Op<void> {
    yield* guest.work(8);
    if (moves !== null) {
      while (!job.isReady) yield* device.flush();
      yield* guest.work(4);
      happenings.push({ what: "moving", to: moves });
      job.complete();
    }
    yield* guest.work(3);
  }
  for (const outcome of await world.runAll([life(), operator()])) if (!outcome.ok) throw outcome.error;
  await world.run(guest.work(3));
  await world.run(device.close());
  await world.close(top);
  await world.close(target);
  return { media, happenings, before };
}

interface Plan {
  driver: JobDriver;
  filter: JobFilterOptions;
  /** Where the guest's disk is when the job has been completed. */
  moves: FileName | null;
}

/** What the journal of such a job is of. */
function journaled(kind: JobKind): { type: "mirror" | "backup"; size: number; granularity: number } {
  return kind.endsWith("backup")
    ? { type: "backup", size: SIZE, granularity: UNIT }
    : { type: "mirror", size: SIZE, granularity: CLUSTER };
}

/**
 * Lets the job go on from what a crash has left, to its end, and gives what the target holds then; null where the journal holds
 * nothing yet, or the job was over.
 */
export async function goOn(kind: JobKind, state: ReadonlyMap<FileName, Buffer>, seed: number): Promise<Buffer | null> {
  const world = makeWorld({ mode: "seeded", drivers: [raw, qcow2], seed });
  for (const [file, bytes] of state) world.files.set(file, memoryStorage(bytes, { name: file }));
  const journal = await world.run(
    JobJournal.open({ storage: world.files.get(JOURNAL)!, between: "unchanged", checkpointBytes: 16 * 1024 }, journaled(kind)),
  );
  if (journal.resumed === null) return null;
  const top = await world.open("qcow2", "top");
  const target = await world.open("qcow2", "target");
  const { driver, filter } = plan(kind, top, top.backing!.backing!, target, [], journal);
  if ("begin" in driver) await world.run((driver as BackupDriver).begin());
  const above = await world.run(insertJobFilter(filter));
  const job = newJob(driver);
  function* operator(): Op<void> {
    while (!job.isReady && !job.isOver) yield* flush(top);
    if (job.isReady) job.cancel(false);
  }
  for (const outcome of await world.runAll([job.run(), operator()])) if (!outcome.ok) throw outcome.error;
  if (job.error !== null) throw job.error;
  await world.run(removeJobFilter(above));
  const bytes = await world.run(readBytes(target, 0, SIZE));
  await world.close(top);
  await world.close(target);
  return Buffer.from(bytes);
}

function newJob(driver: JobDriver): Job {
  return new Job({
    id: "job",
    driver,
    now: () => 0,
    autoDismiss: false,
    events: { statusChanged: () => {}, ready: () => {}, pending: () => {}, finished: () => {}, dismissed: () => {} },
  });
}

function plan(kind: JobKind, top: Node, base: Node, target: Node, happenings: Happening[], journal?: JobJournal): Plan {
  const noted = journal === undefined ? {} : { journal };
  switch (kind) {
    case "stream":
    case "partial stream":
      return {
        driver: streamDriver({ top, base: kind === "stream" ? null : base, policies }),
        filter: { driver: "copy-on-read", above: top },
        moves: null,
      };
    case "commit": {
      const driver = commitDriver({ top: top.backing!, base, policies });
      return {
        driver,
        filter: { driver: "commit_top", above: top.backing!, serve: (child) => driver.serve(child) },
        moves: null,
      };
    }
    case "active commit": {
      const driver = activeCommitDriver(top, base, policies);
      return { driver, filter: { driver: "mirror_top", above: top, serve: (child) => driver.serve(child) }, moves: "base" };
    }
    case "mirror":
    case "blocking mirror":
    case "journaled mirror":
    case "journaled blocking mirror": {
      const driver = mirrorDriver({
        source: top,
        target,
        sync: "full",
        granularity: CLUSTER,
        bufferSize: 1 << 20,
        writeBlocking: kind.includes("blocking"),
        ...noted,
        targetIsZero: false,
        unmap: true,
        base: null,
        replaces: null,
        policies,
        // eslint-disable-next-line require-yield
        *beforeReplace() {
          happenings.push({ what: "moved", to: "target" });
        },
      });
      return { driver, filter: { driver: "mirror_top", above: top, serve: (child) => driver.serve(child) }, moves: "target" };
    }
    case "backup":
    case "journaled backup":
      return {
        driver: backupDriver({ source: top, target, sync: "full", compress: false, clusterSize: UNIT, policies, ...noted }),
        filter: { driver: "copy-before-write", above: top, target },
        moves: null,
      };
  }
}

/** base ← middle ← top and an empty target; what the disk reads. */
async function makeChain(world: World, chance: Random): Promise<Buffer> {
  const disk = Buffer.alloc(SIZE);
  let id = 0;
  for (const [i, name] of FILES.entries()) {
    const below = i === 1 || i === 2 ? FILES[i - 1]! : null;
    const backing = below === null ? {} : { backing_file: below, backing_fmt: "qcow2" };
    await world.create("qcow2", name, SIZE, { cluster_size: CLUSTER, ...backing });
    if (name === "target") continue;
    const node = await world.open("qcow2", name);
    const backend = new Backend(name, node);
    for (let n = 4 + chance.int(6); n > 0; n--) {
      const { offset, length } = range(chance);
      const bytes = pattern(--id, offset, length);
      bytes.copy(disk, offset);
      await world.run(backend.write(bytes, offset));
    }
    await world.run(backend.close());
    await world.close(node);
  }
  return disk;
}

function range(chance: Random): { offset: number; length: number } {
  const offset = chance.int(SIZE / SECTOR) * SECTOR;
  return { offset, length: Math.min(SIZE - offset, (1 + chance.int(chance.chance(0.3) ? 40 : 6)) * SECTOR) };
}

/** Content that names the request and the sector. */
function pattern(id: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 16) {
    bytes.writeInt32BE(id, at);
    bytes.writeUInt32BE(offset / SECTOR + Math.floor(at / SECTOR) + 1, at + 4);
    bytes.writeInt32BE(~id, at + 8);
    bytes.writeUInt32BE(0xb10cc04e, at + 12);
  }
  return bytes;
}

/** From here on everything that reaches an image is noted. Media are as large as they will ever be. */
function record(world: World, happenings: Happening[]): Map<FileName, Buffer> {
  const media = new Map<FileName, Buffer>();
  for (const file of [...FILES, JOURNAL] as const) {
    const content = file === JOURNAL ? Buffer.alloc(0) : Buffer.alloc(8 * SIZE, 0xee);
    if (file !== JOURNAL) content.set(world.bytes(file));
    media.set(file, file === JOURNAL ? Buffer.alloc(8192) : content);
    const recorder = recordingStorage(memoryStorage(content, { name: file }));
    recorder.lines.push = (...lines) => {
      for (const line of lines) happenings.push({ what: "medium", file, line });
      return 0;
    };
    world.files.set(file, recorder as unknown as MemoryStorage);
  }
  return media;
}

class Guest {
  readonly #device: Backend;
  readonly #random: Random;
  readonly #happenings: Happening[];
  readonly #acknowledged = new Set<number>();
  #requests = 0;

  constructor(device: Backend, chance: Random, happenings: Happening[]) {
    this.#device = device;
    this.#random = chance;
    this.#happenings = happenings;
  }

  *work(count: number): Op<void> {
    for (let n = 0; n < count; n++) {
      const { offset, length } = range(this.#random);
      const id = ++this.#requests;
      if (this.#random.chance(0.2)) {
        this.#happenings.push({ what: "change", id, offset, length, value: null });
        yield* this.#device.writeZeroes(offset, length, { mayUnmap: this.#random.chance(0.5) });
      } else {
        const value = pattern(id, offset, length);
        this.#happenings.push({ what: "change", id, offset, length, value });
        yield* this.#device.write(value, offset);
      }
      this.#acknowledged.add(id);
      this.#happenings.push({ what: "acknowledged", id });
      if (this.#random.chance(0.4)) {
        const covers = new Set(this.#acknowledged);
        yield* this.#device.flush();
        this.#happenings.push({ what: "flushed", covers });
      }
    }
  }
}
