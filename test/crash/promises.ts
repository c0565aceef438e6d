/**
 * What the guest may see after a crash: a sector under an acknowledged write that a flush followed reads exactly that; one with later
 * unflushed changes the promised value or one of the later ones; one never touched reads as before. Snapshots keep their content;
 * whole-image operations (applying a snapshot, resizing) show the old or the new image and nothing between.
 */
import { bytesOf, type LogLine } from "../support/recording.js";
import type { Analysed } from "./oracle.js";

export const SECTOR = 512;
const ZEROS = Buffer.alloc(SECTOR);

/** What a test says between the medium's lines: JSON in the text of a "mark". */
export type Mark =
  | { what: "flush-begins"; covers: number[] }
  | { what: "snapshot-create" | "snapshot-created" | "snapshot-remove" | "snapshot-removed"; name: string }
  | { what: "snapshot-apply" | "snapshot-applied"; name: string }
  | { what: "resize" | "resized"; size: number }
  /** The disk becomes its backing file, or zeros where there is none. */
  | { what: "empty" | "emptied" };

interface Change {
  id: number;
  value: Buffer;
}

interface Kept {
  content: Buffer;
  /** Sectors under requests that had failed by then, or were in flight: they may have their content. */
  unsure: Map<number, Change[]>;
  /** Must be there; may be; must not be. */
  presence: "yes" | "maybe" | "no";
}

export class Promises {
  /** Content that a flush or the beginning made durable. */
  #content: Buffer;
  /** Sizes the disk may have. */
  #sizes: Set<number>;
  readonly #pending = new Map<number, Change[]>();
  readonly #acknowledged = new Set<number>();
  readonly #snapshots = new Map<string, Kept>();
  /** The content of the other outcome of an operation on the whole image. */
  #other: Buffer | null = null;
  #covers: number[] | null = null;
  readonly #backing: Buffer | null;

  constructor(image: Analysed, backing: Buffer | null = null) {
    this.#backing = backing;
    this.#content = image.read(0, image.vsize);
    this.#sizes = new Set([image.vsize]);
    for (const snapshot of image.snapshots) {
      this.#snapshots.set(snapshot.name, {
        content: image.read(0, snapshot.size, snapshot.l1o, snapshot.l1n),
        unsure: new Map(),
        presence: "yes",
      });
    }
  }

  get content(): Buffer {
    return this.#content;
  }

  change(id: number, offset: number, length: number, value: Buffer | null): void {
    for (let at = 0; at < length; at += SECTOR) {
      const sector = (offset + at) / SECTOR;
      let list = this.#pending.get(sector);
      if (list === undefined) this.#pending.set(sector, (list = []));
      list.push({ id, value: value === null ? ZEROS : value.subarray(at, at + SECTOR) });
    }
  }
  acknowledge(id: number): void {
    this.#acknowledged.add(id);
  }
  /** A guest flush that covers these changes (those acknowledged before it began) has succeeded. */
  flushed(covers: ReadonlySet<number>): void {
    for (const [sector, changes] of this.#pending) {
      let last = -1;
      changes.forEach((change, i) => {
        if (covers.has(change.id)) last = i;
      });
      if (last < 0) continue;
      changes[last]!.value.copy(this.#content, sector * SECTOR);
      const rest = changes.filter((change, i) => i > last || !this.#acknowledged.has(change.id));
      if (rest.length > 0) this.#pending.set(sector, rest);
      else this.#pending.delete(sector);
    }
  }
  guestFlush(): void {
    this.flushed(new Set(this.#covers ?? this.#acknowledged));
    this.#covers = null;
  }

  /** What a guest did, or the test said, as the log has it. */
  guest(line: LogLine): void {
    if (line.op === "gw") this.change(line.id, line.o, line.n, bytesOf(line));
    else if (line.op === "gz" || line.op === "gd") this.change(line.id, line.o, line.n, null);
    else if (line.op === "ga") this.acknowledge(line.id);
    else if (line.op === "gf") this.guestFlush();
    else if (line.op === "mark") this.mark(JSON.parse(line.s) as Mark);
  }

  mark(mark: Mark): void {
    switch (mark.what) {
      case "flush-begins":
        this.#covers = mark.covers;
        return;
      case "snapshot-create":
        this.#snapshots.set(mark.name, { content: this.#latest(), unsure: this.#unacknowledged(), presence: "maybe" });
        return;
      case "snapshot-created":
        // Everything before it is part of it, and durable with it.
        this.flushed(new Set(this.#acknowledged));
        this.#snapshots.get(mark.name)!.presence = "yes";
        return;
      case "snapshot-remove":
        this.#snapshots.get(mark.name)!.presence = "maybe";
        return;
      case "snapshot-removed":
        this.#snapshots.get(mark.name)!.presence = "no";
        return;
      case "snapshot-apply":
        this.#other = Buffer.from(this.#snapshots.get(mark.name)!.content);
        this.#sizes.add(this.#other.length);
        return;
      case "snapshot-applied":
        this.#content = this.#other!;
        this.#sizes = new Set([this.#content.length]);
        this.#pending.clear();
        this.#other = null;
        return;
      case "empty":
        this.#other = Buffer.alloc(this.#content.length);
        this.#backing?.copy(this.#other);
        return;
      case "emptied":
        this.#content = this.#other!;
        this.#pending.clear();
        this.#other = null;
        return;
      case "resize":
        this.#sizes.add(mark.size);
        this.#other = Buffer.alloc(mark.size);
        this.#latest().copy(this.#other);
        return;
      case "resized": {
        this.flushed(new Set(this.#acknowledged));
        const next = Buffer.alloc(mark.size);
        this.#content.copy(next);
        this.#content = next;
        this.#sizes = new Set([mark.size]);
        this.#other = null;
        for (const sector of this.#pending.keys()) if (sector * SECTOR >= mark.size) this.#pending.delete(sector);
        return;
      }
    }
  }

  #unacknowledged(): Map<number, Change[]> {
    const unsure = new Map<number, Change[]>();
    for (const [sector, changes] of this.#pending) {
      const open = changes.filter(({ id }) => !this.#acknowledged.has(id));
      if (open.length > 0) unsure.set(sector, open);
    }
    return unsure;
  }

  /** The content with everything that was acknowledged. */
  #latest(): Buffer {
    const copy = Buffer.from(this.#content);
    for (const [sector, changes] of this.#pending)
      for (const { id, value } of changes) if (this.#acknowledged.has(id)) value.copy(copy, sector * SECTOR);
    return copy;
  }
  get latest(): Buffer {
    return this.#latest();
  }

  /** What is wrong with a crash state; null when all promises are kept. */
  broken(image: Analysed): string | null {
    if (!this.#sizes.has(image.vsize)) return `virtual size is ${image.vsize}`;
    return this.#brokenContent(image) ?? this.#brokenSnapshot(image);
  }

  #brokenContent(image: Analysed): string | null {
    const got = image.read(0, image.vsize);
    if (this.#other !== null && got.equals(this.#other)) return null;
    const promised = this.#content;
    const length = Math.min(got.length, promised.length);
    if (this.#pending.size === 0 && got.subarray(0, length).equals(promised.subarray(0, length)))
      return this.#behind(got, length);
    for (let at = 0; at < length; at += SECTOR) {
      const value = got.subarray(at, at + SECTOR);
      if (value.equals(promised.subarray(at, at + SECTOR))) continue;
      const changes = this.#pending.get(at / SECTOR);
      if (changes?.some((change) => change.value.equals(value)) === true) continue;
      // While the disk shrinks, what is behind its new end may be gone already.
      if (this.#other !== null && at >= this.#other.length && value.equals(ZEROS)) continue;
      return `sector ${at / SECTOR} reads ${value.subarray(0, 4).toString("hex")}… instead of ${promised.subarray(at, at + 4).toString("hex")}… (${changes?.length ?? 0} unflushed changes)`;
    }
    return this.#behind(got, length);
  }
  #behind(got: Buffer, length: number): string | null {
    for (let at = length; at < got.length; at++) if (got[at] !== 0) return `byte ${at} behind the old end is not zero`;
    return null;
  }

  #brokenSnapshot(image: Analysed): string | null {
    for (const [name, kept] of this.#snapshots) {
      const found = image.snapshots.find((snapshot) => snapshot.name === name);
      if (found === undefined) {
        if (kept.presence === "yes") return `snapshot ${name} is gone`;
        continue;
      }
      if (kept.presence === "no") return `snapshot ${name} has come back`;
      if (found.size !== kept.content.length) return `snapshot ${name} has size ${found.size}`;
      const got = image.read(0, found.size, found.l1o, found.l1n);
      if (got.equals(kept.content)) continue;
      for (let at = 0; at < got.length; at += SECTOR) {
        const value = got.subarray(at, at + SECTOR);
        if (
          value.equals(kept.content.subarray(at, at + SECTOR)) ||
          kept.unsure.get(at / SECTOR)?.some((change) => change.value.equals(value)) === true
        )
          continue;
        return `snapshot ${name} has other content in sector ${at / SECTOR}`;
      }
    }
    for (const { name } of image.snapshots) if (!this.#snapshots.has(name)) return `there is an unknown snapshot ${name}`;
    return null;
  }
}
