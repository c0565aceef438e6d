/** Judges every moment of a job at which the power could have failed: the guest's disk, the chain below it, the target. */
import type { Random } from "../support/random.js";
import { random } from "../support/random.js";
import { bytesOf, type LogLine } from "../support/recording.js";
import { goOn, SIZE, type FileName, type Happening, type JobKind, type JobRun } from "./job-scenarios.js";
import type { Analyse, Analysed } from "./oracle.js";
import { Promises, SECTOR } from "./promises.js";

export interface JobVerdict {
  states: number;
  /** Jobs that went on from such a state. */
  returns: number;
  violations: string[];
}

type Oracle = (backing: Buffer | null) => Analyse;

/** A medium: what is durable, and what was written since. */
class Medium {
  readonly durable: Buffer;
  #pending: { offset: number; data: Buffer }[] = [];

  constructor(content: Buffer) {
    this.durable = Buffer.from(content);
  }
  get pending(): number {
    return this.#pending.length;
  }

  take(line: LogLine): void {
    switch (line.op) {
      case "w":
        this.#pending.push({ offset: line.o, data: bytesOf(line) });
        return;
      case "z":
      case "d":
        this.#pending.push({ offset: line.o, data: Buffer.alloc(Math.min(line.n, this.durable.length - line.o)) });
        return;
      case "t":
        if (line.n < this.durable.length)
          this.#pending.push({ offset: line.n, data: Buffer.alloc(this.durable.length - line.n) });
        return;
      case "f":
        for (const { offset, data } of this.#pending) data.copy(this.durable, offset);
        this.#pending = [];
        return;
      default:
    }
  }

  /** A state the medium may be in: none, all, a prefix, or any of the writes since, some torn between sectors. */
  state(chance: Random): Buffer {
    const state = Buffer.from(this.durable);
    const how = chance.int(5);
    const first = how === 2 ? chance.int(this.#pending.length + 1) : this.#pending.length;
    for (const [i, { offset, data }] of this.#pending.entries()) {
      if (how === 0 || i >= first) break;
      if (how >= 3 && chance.chance(0.5)) continue;
      if (how === 4 && data.length > SECTOR && chance.chance(0.3)) {
        for (let at = 0; at < data.length; at += SECTOR)
          if (chance.chance(0.5)) data.copy(state, offset + at, at, Math.min(at + SECTOR, data.length));
      } else data.copy(state, offset);
    }
    return state;
  }
}

export async function judgeJob(kind: JobKind, run: JobRun, oracle: Oracle, states: number, seed: number): Promise<JobVerdict> {
  const chance = random(seed);
  const media = new Map([...run.media].map(([file, content]) => [file, new Medium(content)] as const));
  const promises = new Promises(plain(run.before));
  const verdict: JobVerdict = { states: 0, returns: 0, violations: [] };
  /** Files one of which holds the guest's disk. */
  let holders: FileName[] = ["top"];
  let isDone = false;
  let isMoving = false;
  const every = Math.max(1, Math.floor(run.happenings.length / states));

  for (const [i, happening] of run.happenings.entries()) {
    apply(happening);
    // The strictest moments are those just after a promise.
    if (i % every !== 0 && happening.what === "medium") continue;
    const state = new Map([...media].map(([file, medium]) => [file, medium.state(chance)] as const));
    verdict.states++;
    const wrong = judge(state) ?? (kind.startsWith("journaled") ? await judgeReturn(state) : null);
    if (wrong !== null) verdict.violations.push(`after ${i} of ${run.happenings.length} (${happening.what}): ${wrong}`);
  }
  return verdict;

  function apply(happening: Happening): void {
    switch (happening.what) {
      case "medium":
        media.get(happening.file)!.take(happening.line);
        return;
      case "change":
        promises.change(happening.id, happening.offset, happening.length, happening.value);
        return;
      case "acknowledged":
        promises.acknowledge(happening.id);
        return;
      case "flushed":
        promises.flushed(happening.covers);
        return;
      case "moving":
        isMoving = true;
        holders = ["top", happening.to];
        return;
      case "moved":
        holders = [happening.to];
        return;
      case "done":
        isDone = true;
    }
  }

  function judge(state: ReadonlyMap<FileName, Buffer>): string | null {
    const wrongs: string[] = [];
    for (const holder of holders) {
      const image = readChain(holder, state, oracle);
      const wrong = typeof image === "string" ? image : promises.broken(image);
      if (wrong === null) break;
      wrongs.push(`${holder}: ${wrong}`);
    }
    if (wrongs.length === holders.length) return wrongs.join("; ");
    const target = readChain("target", state, oracle);
    if (typeof target === "string") return `target: ${target}`;
    return kind.endsWith("backup") ? judgeBackup(target) : null;
  }

  /** A job that goes on from here ends as it would have. */
  async function judgeReturn(state: ReadonlyMap<FileName, Buffer>): Promise<string | null> {
    if (isMoving || isDone || chance.chance(0.6)) return null;
    const expected = kind.endsWith("backup") ? run.before : (readChain("top", state, oracle) as Analysed).read(0, SIZE);
    let got: Buffer | null;
    try {
      got = await goOn(kind, state, chance.int(1 << 30));
    } catch (error) {
      return `going on failed: ${(error as Error).message}`;
    }
    if (got === null) return null;
    verdict.returns++;
    for (let at = 0; at < SIZE; at += SECTOR)
      if (!got.subarray(at, at + SECTOR).equals(expected.subarray(at, at + SECTOR)))
        return `gone on to its end: sector ${at / SECTOR} of the target`;
    return null;
  }

  /** Each sector is as it was before the copy (zeros) or as the disk was when the job began; the latter when the job is done. */
  function judgeBackup(target: Analysed): string | null {
    const content = target.read(0, SIZE);
    for (let at = 0; at < SIZE; at += SECTOR) {
      const sector = content.subarray(at, at + SECTOR);
      if (sector.equals(run.before.subarray(at, at + SECTOR))) continue;
      if (isDone || sector.some((byte) => byte !== 0)) return `sector ${at / SECTOR} of the backup`;
    }
    return null;
  }
}

/** An image of these bytes and nothing else. */
function plain(content: Buffer): Analysed {
  return {
    open: true,
    err: null,
    dirty: false,
    corrupt: false,
    corruptions: [],
    leaks: 0,
    vsize: content.length,
    clusterSize: SECTOR,
    snapshots: [],
    read: (offset, length) => Buffer.from(content.subarray(offset, offset + length)),
  };
}

/** Reads an image with its backing chain as the images name it, by the oracle alone; or says what is wrong. */
function readChain(file: FileName, state: ReadonlyMap<FileName, Buffer>, oracle: Oracle, depth = 0): Analysed | string {
  const bytes = state.get(file)!;
  if (depth > 4) return "the chain is a ring";
  const offset = Number(bytes.readBigUInt64BE(8));
  const name = offset === 0 ? "" : bytes.toString("latin1", offset, offset + bytes.readUInt32BE(16));
  let backing: Buffer | null = null;
  if (name !== "") {
    if (!state.has(name as FileName)) return `the backing file's name is '${name.slice(0, 60)}'`;
    const below = readChain(name as FileName, state, oracle, depth + 1);
    if (typeof below === "string") return `${name}: ${below}`;
    backing = below.read(0, below.vsize);
  }
  let image: Analysed;
  try {
    image = oracle(backing)(bytes);
  } catch (error) {
    return `cannot be read: ${(error as Error).message}`;
  }
  if (!image.open) return `cannot be opened: ${image.err}`;
  if (image.corrupt) return "the corrupt bit is set";
  if (image.ncorr) return `corrupt: ${image.corruptions[0]}`;
  return image;
}
