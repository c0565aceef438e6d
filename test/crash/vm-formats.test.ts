// time-limit: 240 s
/**
 * Power failures of VHDX and VMDK images. A workload is recorded, then cut at many points: what was written before the last completed flush is
 * there, of what came after it any subset (single writes torn in sectors). The image must open, be sound, hold everything the
 * guest had flushed, and go on working. SEED=n starts at another seed.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../src/base/error.js";
import { flush, read, write, writeZeroes } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import { openNode } from "../../src/block/open.js";
import { runSync } from "../../src/block/op.js";
import { storageNode } from "../../src/block/storage-node.js";
import { raw } from "../../src/formats/raw/raw.js";
import { vhdx } from "../../src/formats/vhdx/vhdx.js";
import { vmdk } from "../../src/formats/vmdk/vmdk.js";
import { memoryStorage } from "../../src/storage/memory.js";
import type { Storage } from "../../src/storage/storage.js";
import { chooseSeed, random, type Random } from "../support/random.js";
import { recordingStorage, type LogLine } from "../support/recording.js";
import { makeWorld } from "../support/world.js";

const MiB = 1048576;
const SECTOR = 512;
const world = makeWorld({ mode: "sync", drivers: [raw, vhdx, vmdk] });

interface Kind {
  driver: string;
  options(chance: Random): Record<string, unknown>;
}
const kinds: readonly Kind[] = [
  { driver: "vhdx", options: (chance) => ({ block_size: MiB, block_state_zero: chance.chance(0.5) }) },
  { driver: "vmdk", options: (chance) => ({ zeroed_grain: chance.chance(0.5) }) },
];
const seeds = Number(process.env["BLOCKCORE_SEEDS"] ?? 5);
const first = chooseSeed();

function openOn(driver: string, storage: Storage, writable: boolean): Node {
  const file = runSync(storageNode(world.environment, storage, { write: writable }));
  try {
    return runSync(openNode(world.environment, { driver, options: { file }, flags: { write: writable, unmap: writable } }));
  } finally {
    runSync(file.unref());
  }
}

/** What the guest knows: the bytes at its last flush, and all that each sector may hold since. */
class Guest {
  flushed: Uint8Array;
  current: Uint8Array;
  /** Versions of sectors changed since the last flush. */
  readonly since = new Map<number, Uint8Array[]>();
  constructor(size: number) {
    this.flushed = new Uint8Array(size);
    this.current = new Uint8Array(size);
  }
  change(offset: number, bytes: Uint8Array): void {
    this.current.set(bytes, offset);
    for (let sector = offset / SECTOR; sector < (offset + bytes.length) / SECTOR; sector++) {
      const versions = this.since.get(sector) ?? [];
      versions.push(this.current.slice(sector * SECTOR, (sector + 1) * SECTOR));
      this.since.set(sector, versions);
    }
  }
  flush(): void {
    this.flushed = this.current.slice();
    this.since.clear();
  }
  /** A copy for the time at which a line was logged. */
  snapshot(): { flushed: Uint8Array; since: Map<number, Uint8Array[]> } {
    return { flushed: this.flushed, since: new Map([...this.since].map(([sector, versions]) => [sector, [...versions]])) };
  }
}

interface Recorded {
  start: Uint8Array;
  lines: LogLine[];
  /** The guest's knowledge when line i had been logged; before the next entry it is the same. */
  guests: { at: number; state: ReturnType<Guest["snapshot"]> }[];
  size: number;
}

async function record(kind: Kind, chance: Random): Promise<Recorded> {
  const size = 6 * MiB;
  await world.create(kind.driver, "image", size, kind.options(chance));
  const start = world.bytes("image");
  const storage = recordingStorage(memoryStorage(start));
  const node = openOn(kind.driver, storage, true);
  const guest = new Guest(size);
  const recorded: Recorded = { start, lines: storage.lines, guests: [{ at: 0, state: guest.snapshot() }], size };
  const note = (): void => void recorded.guests.push({ at: storage.lines.length, state: guest.snapshot() });
  for (let step = 0; step < 14; step++) {
    const request = chance.pick(["write", "write", "write", "zeroes", "flush", "flush"]);
    const length = SECTOR * (1 + chance.int(chance.pick([4, 64, 3000])));
    const offset = SECTOR * chance.int((size - length) / SECTOR + 1);
    if (request === "flush") {
      runSync(flush(node));
      guest.flush();
      note();
      continue;
    }
    const bytes = request === "zeroes" ? new Uint8Array(length) : new Uint8Array(length).fill(1 + step * 7);
    if (request === "write") for (let at = 0; at < length; at += SECTOR) bytes[at] = chance.int(256);
    // From the moment it begins its bytes may be there.
    guest.change(offset, bytes);
    note();
    runSync(request === "zeroes" ? writeZeroes(node, offset, length, { mayUnmap: true }) : write(node, bytes, offset));
  }
  runSync(node.unref());
  guest.flush();
  note();
  return recorded;
}

const decoded = new WeakMap<LogLine, Uint8Array>();
function bytesOf(line: LogLine & { op: "w" }): Uint8Array {
  let bytes = decoded.get(line);
  if (bytes === undefined)
    decoded.set(line, (bytes = "fill" in line ? new Uint8Array(line.n).fill(line.fill) : Buffer.from(line.b64, "base64")));
  return bytes;
}

/** The file after a power failure behind line `cut`. */
function crashed(recorded: Recorded, cut: number, chance: Random): Uint8Array {
  const medium = memoryStorage(recorded.start);
  let durable = 0;
  for (let i = 0; i < cut; i++) if (recorded.lines[i]!.op === "f") durable = i;
  const keep = chance.pick([0, 0.3, 0.7, 1]);
  for (let i = 0; i < cut; i++) {
    const line = recorded.lines[i]!;
    const certain = i < durable;
    if (!certain && !chance.chance(keep)) continue;
    switch (line.op) {
      case "w": {
        const bytes = bytesOf(line);
        const torn = !certain && bytes.length > SECTOR && chance.chance(0.3);
        for (let at = 0; at < bytes.length; at += torn ? SECTOR : bytes.length) {
          if (!torn || chance.chance(0.5)) medium.sync.write(bytes.subarray(at, torn ? at + SECTOR : undefined), line.o + at);
        }
        break;
      }
      case "z":
      case "d":
        // The growth before it may be among what was lost; a write brings it about again.
        if (medium.sync.size() < line.o + line.n) medium.sync.truncate(line.o + line.n);
        medium.sync.writeZeroes!(line.o, line.n, {});
        break;
      case "t":
        medium.sync.truncate(line.n);
        break;
    }
  }
  return medium.toBytes();
}

async function judge(
  driver: string,
  bytes: Uint8Array,
  state: ReturnType<Guest["snapshot"]>,
  size: number,
  what: string,
): Promise<void> {
  // Read-only: the log is replayed in memory. Then for writing: into the file. Both see the same.
  world.files.set("crashed", memoryStorage(bytes));
  const node = await world.open(driver, "crashed", {});
  const seen = new Uint8Array(size);
  runSync(read(node, seen, 0));
  await world.close(node);
  assert.is(Buffer.compare(world.bytes("crashed"), bytes), 0, `${what}: reading changed the file`);
  for (let sector = 0; sector < size / SECTOR; sector++) {
    const [from, to] = [sector * SECTOR, (sector + 1) * SECTOR];
    const is = (want: Uint8Array, at = 0): boolean =>
      Buffer.compare(seen.subarray(from, to), want.subarray(at, at + SECTOR)) === 0;
    if (is(state.flushed, from) || (state.since.get(sector) ?? []).some((version) => is(version))) continue;
    assert.unreachable(`${what}: sector ${sector} is neither what was flushed nor what was written since`);
  }
  const writable = await world.open(driver, "crashed");
  const again = new Uint8Array(size);
  runSync(read(writable, again, 0));
  assert.is(Buffer.compare(again, seen), 0, `${what}: replayed into the file it is another image`);
  const impl = writable.impl;
  if (impl.shape === "mapped")
    assert.is(runSync(impl.check!({ fix: "none", report: () => {} })).corruptions, 0, `${what}: corruptions`);
  const more = new Uint8Array(MiB).fill(0xcc);
  runSync(write(writable, more, 4 * MiB));
  again.set(more, 4 * MiB);
  await world.close(writable);
  const last = await world.open(driver, "crashed", {});
  runSync(read(last, seen, 0));
  await world.close(last);
  assert.is(Buffer.compare(again, seen), 0, `${what}: life after the failure`);
}

for (const kind of kinds) {
  test(`${kind.driver}: what the guest flushed survives: ${seeds} workloads, cut at many points`, async () => {
    console.log(`SEED=${first}`);
    for (let i = 0; i < seeds; i++) {
      const chance = random(first + i);
      const recorded = await record(kind, chance);
      const cuts = new Set([recorded.lines.length]);
      for (let n = 0; n < 10; n++) cuts.add(chance.int(recorded.lines.length + 1));
      for (const cut of cuts) {
        // The guest's knowledge when the power failed: the last that was noted up to this line.
        const { state } = recorded.guests.filter(({ at }) => at <= cut).pop()!;
        await judge(
          kind.driver,
          crashed(recorded, cut, chance),
          state,
          recorded.size,
          `seed ${first + i}, cut at ${cut} of ${recorded.lines.length}`,
        );
      }
    }
  });

  test(`${kind.driver}: an order that is wrong is found: the table before the data`, async () => {
    // The judge itself can fail: without the flushes the same workload loses data.
    let lost = 0;
    for (let i = 0; i < 2; i++) {
      const chance = random(first + 1000 + i);
      const recorded = await record(kind, chance);
      recorded.lines.splice(
        0,
        recorded.lines.length,
        ...recorded.lines.map((line): LogLine => (line.op === "f" ? { op: "mark", s: "no flush" } : line)),
      );
      for (let n = 0; n < 10; n++) {
        try {
          await judge(
            kind.driver,
            crashed(recorded, recorded.lines.length, chance),
            recorded.guests[recorded.guests.length - 1]!.state,
            recorded.size,
            "without flushes",
          );
        } catch (error) {
          if (!(error instanceof BlockError) && (error as { code?: string }).code !== "ERR_ASSERTION") throw error;
          lost++;
        }
      }
    }
    assert.ok(lost > 0, "nothing was ever lost without flushes");
  });
}

test.run();
