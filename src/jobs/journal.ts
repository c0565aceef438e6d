/**
 * A journal that lets a copying job go on after its process has died: which parts of the disk are left to copy, kept on a storage of
 * the caller's. What it says is never too little: a part is taken off only when its copy is durable, and (for jobs that follow the
 * disk) put on before the disk changes there.
 *
 * On the storage: a sector of JSON, and from byte 4096 one bit per unit, least significant first; 1: left. A sector of 512 bytes is
 * taken to be written whole or not at all.
 */
import { decodeText, encodeText, equalBytes } from "../base/bytes.js";
import { BlockError } from "../base/error.js";
import { DirtyBitmap } from "../block/dirty-bitmap.js";
import { Mutex, StorageRequest, storageSize, type Op } from "../block/op.js";
import type { Storage } from "../storage/storage.js";
import type { JobType } from "./job.js";

/** Whether the disk was written between the death of the job and its return, other than through the job. */
export type Between = "unchanged" | "unknown";

export interface JournalOptions {
  storage: Storage;
  /** "unknown" when absent: a mirror compares what it had copied; a backup cannot go on. */
  between?: Between;
  /** Bytes copied between two points that are made durable; 64 MiB when absent. */
  checkpointBytes?: number;
}

interface Header {
  blockcore: "job journal";
  version: 1;
  type: JobType;
  /** Bytes of the disk. */
  size: number;
  granularity: number;
  state: "running" | "done" | "spoiled";
}

const SECTOR = 512;
const BITS_AT = 4096;
const CHECKPOINT_BYTES: number = 64 * 1024 * 1024;

export class JobJournal {
  readonly #storage: Storage;
  readonly #header: Header;
  readonly #turn = new Mutex();
  /** What the storage says is left. */
  #written: DirtyBitmap;
  /** What was left when the job before this one died; null: there was none. */
  readonly resumed: DirtyBitmap | null;
  readonly between: Between;
  readonly checkpointBytes: number;

  private constructor(options: JournalOptions, header: Header, resumed: DirtyBitmap | null) {
    this.#storage = options.storage;
    this.#header = header;
    this.between = options.between ?? "unknown";
    this.checkpointBytes = options.checkpointBytes ?? CHECKPOINT_BYTES;
    this.resumed = resumed;
    this.#written = resumed?.copy() ?? new DirtyBitmap(header.size, header.granularity);
  }

  /**
   * Reads what a job before has left, if anything.
   * @throws BlockError ERR_INVALID_ARGUMENT when the journal is of another job, or of none
   */
  static *open(options: JournalOptions, job: { type: JobType; size: number; granularity: number }): Op<JobJournal> {
    const { storage } = options;
    const header: Header = { blockcore: "job journal", version: 1, ...job, state: "running" };
    const size = yield* storageSize(storage);
    if (size === 0) return new JobJournal(options, header, null);
    const sector = new Uint8Array(SECTOR);
    yield new StorageRequest(storage, "read", 0, SECTOR, sector);
    // It died while it made the journal.
    if (sector.every((byte) => byte === 0)) return new JobJournal(options, header, null);
    const found = parse(sector);
    if (found === null) throw refuse(storage, "this is not a journal of a job");
    if (found.state === "done") return new JobJournal(options, header, null);
    if (found.state === "spoiled")
      throw refuse(storage, "the disk was written after the job had failed; start with an empty journal");
    for (const member of ["type", "size", "granularity"] as const) {
      if (found[member] !== header[member])
        throw refuse(storage, `it is of a job with ${member} ${found[member]}, not ${header[member]}`);
    }
    const left = new DirtyBitmap(header.size, header.granularity);
    if (size < BITS_AT + left.byteLength) throw refuse(storage, "it is cut off");
    const chunk = new Uint8Array(64 * 1024);
    for (let at = 0; at < left.byteLength; at += chunk.length) {
      const part = chunk.subarray(0, Math.min(chunk.length, left.byteLength - at));
      yield new StorageRequest(storage, "read", BITS_AT + at, part.length, part);
      left.orBytes(part, at);
    }
    return new JobJournal(options, header, left);
  }

  /** From now on the journal is good for a return. @param what is left, asked when the journal's turn has come */
  *begin(what: () => DirtyBitmap): Op<void> {
    const done = yield* this.#turn.acquire();
    try {
      // Bits first: a header makes them valid.
      const left = what().copy();
      const bits = alignedBytes(left);
      yield new StorageRequest(this.#storage, "write", BITS_AT, bits.length, bits);
      yield new StorageRequest(this.#storage, "flush");
      yield* this.#writeHeader("running");
      this.#written = left;
    } finally {
      done();
    }
  }

  /** Whether the storage says that some of the range is left. */
  claims(offset: number, length: number): boolean {
    const next = this.#written.nextDirty(offset, 1);
    return next !== null && next.offset < offset + length;
  }

  /** Puts a range on, durably, before it changes. */
  *mark(offset: number, length: number): Op<void> {
    const done = yield* this.#turn.acquire();
    try {
      const clean = this.#written.nextClean(offset);
      if (clean < 0 || clean >= offset + length) return;
      const wanted = this.#written.copy();
      wanted.set(offset, length);
      yield* this.#write(wanted);
    } finally {
      done();
    }
  }

  /** Says that exactly this is left, durably. @param left asked when the journal's turn has come */
  *update(left: () => DirtyBitmap): Op<void> {
    const done = yield* this.#turn.acquire();
    try {
      yield* this.#write(left());
    } finally {
      done();
    }
  }

  *#write(wanted: DirtyBitmap): Op<void> {
    const [now, next] = [new Uint8Array(SECTOR), new Uint8Array(SECTOR)];
    let changed = false;
    for (let at = 0; at < wanted.byteLength; at += SECTOR) {
      this.#written.readBytes(now, at);
      wanted.readBytes(next, at);
      if (equalBytes(now, next)) continue;
      changed = true;
      yield new StorageRequest(this.#storage, "write", BITS_AT + at, SECTOR, next);
    }
    if (changed) yield new StorageRequest(this.#storage, "flush");
    this.#written = wanted.copy();
  }

  /** The job has ended: well, or so that it can not go on any more. */
  *end(state: "done" | "spoiled"): Op<void> {
    const done = yield* this.#turn.acquire();
    try {
      yield* this.#writeHeader(state);
    } finally {
      done();
    }
  }

  *#writeHeader(state: Header["state"]): Op<void> {
    const sector = new Uint8Array(SECTOR).fill(0x20);
    sector.set(encodeText(JSON.stringify({ ...this.#header, state })));
    yield new StorageRequest(this.#storage, "write", 0, SECTOR, sector);
    yield new StorageRequest(this.#storage, "flush");
  }
}

function alignedBytes(bits: DirtyBitmap): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(bits.byteLength / SECTOR) * SECTOR);
  bits.readBytes(bytes, 0);
  return bytes;
}

function parse(sector: Uint8Array): Header | null {
  try {
    const header = JSON.parse(decodeText(sector).trim()) as Header;
    return header.blockcore === "job journal" && header.version === 1 ? header : null;
  } catch {
    return null;
  }
}

const refuse = (storage: Storage, why: string): BlockError =>
  new BlockError("ERR_INVALID_ARGUMENT", `Cannot use the journal '${storage.name}': ${why}`);
