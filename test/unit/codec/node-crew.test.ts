import { test } from "uvu";
import * as assert from "uvu/assert";
import type { DecompressUnit } from "../../../src/codec/codec.js";
import { Crew, type CrewUnit } from "../../../src/codec/node-crew.js";
import { nodeCodecs } from "../../../src/codec/node-codecs.js";
import { damaged, padded, random, same, sample } from "./sample.js";

const SEED = Number(process.env["SEED"] ?? 20261121);
console.log(`node-crew.test seed ${SEED}`);
const next = random(SEED);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Units of 2 KiB to 100 KiB and some that are too small to be handed over; the first byte tells the work below what to do. */
function unitsOf(count: number, first: (index: number) => number): CrewUnit[] {
  return Array.from({ length: count }, (_, index) => {
    const from = sample(index % 9 === 4 ? 100 : 2048 + Math.floor(next() * 100_000), index);
    from[0] = first(index);
    return { from, room: from.length };
  });
}

/** Turns its bytes around; gives up, throws or ends its thread when told so. */
const TURN_AROUND = `async () => (from, into) => {
  if (from[0] === 255) return 0;
  if (from[0] === 254) throw new Error("not here");
  if (from[0] === 253) process.exit(1);
  into.set(from);
  into.reverse();
  return from.length;
}`;

const reversed = (bytes: Uint8Array): Uint8Array => Uint8Array.from(bytes).reverse();

/** One run; how many units other threads did. Every unit is done once, and rightly. */
function once(crew: Crew, units: readonly CrewUnit[]): number {
  const done = new Uint8Array(units.length);
  let others = 0;
  crew.run(
    units,
    (index) => {
      // Takes its time, as inflating does: the others have to wake up first.
      reversed(reversed(units[index]!.from));
      done[index]!++;
    },
    (index, result) => {
      done[index]!++;
      others++;
      same(result, reversed(units[index]!.from), `unit ${index}`);
    },
  );
  assert.ok(
    done.every((times) => times === 1),
    "every unit once",
  );
  return others;
}

/** Until other threads take part; false: they never did. */
async function warm(crew: Crew): Promise<boolean> {
  for (let tries = 0; tries < 600; tries++) {
    if (
      once(
        crew,
        unitsOf(40, () => 1),
      ) > 0
    )
      return true;
    await pause(50);
  }
  return false;
}

test("other threads take their share, and what they can not do comes back", async () => {
  const crew = new Crew(() => TURN_AROUND);
  assert.is(
    once(
      crew,
      unitsOf(1, () => 1),
    ),
    0,
    "no threads for a single unit",
  );
  assert.ok(await warm(crew));
  for (let round = 0; round < 20; round++)
    once(
      crew,
      unitsOf(1 + Math.floor(next() * 300), (index) => (index % 5 === 0 ? 255 : index % 7 === 0 ? 254 : 1)),
    );
});

test("a failure on the caller's thread is thrown when all units are done", async () => {
  const crew = new Crew(() => TURN_AROUND);
  assert.ok(await warm(crew));
  const units = unitsOf(60, () => 255);
  let done = 0;
  assert.throws(
    () =>
      crew.run(
        units,
        (index) => {
          done++;
          if (index === 7 || index === 30) throw new Error(`unit ${index}`);
        },
        () => done++,
      ),
    /unit (7|30)/,
  );
  assert.is(done, 60);
});

test("threads that end, or never start, are done without", async () => {
  const crew = new Crew(() => TURN_AROUND, 200);
  assert.ok(await warm(crew));
  // Until one has taken such a unit and was given up with all others: from then on none takes part.
  let quiet = 0;
  for (let tries = 0; quiet < 5 && tries < 300; tries++) {
    once(
      crew,
      unitsOf(60, () => 253),
    );
    await pause(20);
    const others = once(
      crew,
      unitsOf(60, () => 1),
    );
    quiet = others === 0 ? quiet + 1 : 0;
  }
  assert.is(quiet, 5);
  const broken = new Crew(() => "this is no program");
  for (let round = 0; round < 10; round++) {
    assert.is(
      once(
        broken,
        unitsOf(40, () => 1),
      ),
      0,
    );
    await pause(20);
  }
});

for (const name of ["deflate", "zlib", "zstd"] as const) {
  test(`${name}: many units are what they are one by one, damaged ones too`, async () => {
    const { many, sync } = nodeCodecs.decompressor(name);
    const compressor = nodeCodecs.compressor(name);
    const plains = Array.from({ length: 24 }, (_, i) => sample(65536, SEED + i));
    const packed = plains.map((plain, i) => padded(compressor.sync!(plain, 100_000)!, i % 3 === 0 ? 0 : 300));
    for (let round = 0; round < 12; round++) {
      const units: DecompressUnit[] = [];
      for (let i = 0; i < 100; i++) {
        const from = packed[Math.floor(next() * packed.length)]!;
        units.push({ from: next() < 0.2 ? damaged(from, next) : from, into: new Uint8Array(next() < 0.1 ? 65537 : 65536) });
      }
      many!(units);
      for (const [i, { from, into, error }] of units.entries()) {
        const alone = new Uint8Array(into.length);
        let failure: unknown;
        try {
          sync!(from, alone);
        } catch (caught) {
          failure = caught;
        }
        assert.is((error as Error | undefined)?.message, (failure as Error | undefined)?.message, `round ${round}, unit ${i}`);
        if (failure === undefined) same(into, alone, `round ${round}, unit ${i}:`);
      }
      await pause(round < 8 ? 50 : 0);
    }
  });
}

test.run();
