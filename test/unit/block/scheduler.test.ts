import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  done,
  foreign,
  Mutex,
  parallel,
  storageRead,
  storageWrite,
  WaitQueue,
  WaitRequest,
  type Op,
} from "../../../src/block/op.js";
import { memoryStorage } from "../../../src/storage/memory.js";
import { random } from "../../support/random.js";
import { DeadlockError, runInterleaved } from "../../support/scheduler.js";

const step = (log: string[], text: string): Op<void> => foreign(text, () => void log.push(text), null);

function* letters(log: string[], name: string): Op<string> {
  for (let i = 0; i < 3; i++) yield* step(log, `${name}${i}`);
  return name;
}

test("the same seed gives the same order, other seeds other orders", () => {
  const orderOf = (seed: number): string => {
    const log: string[] = [];
    const outcomes = runInterleaved(random(seed), [letters(log, "a"), letters(log, "b"), letters(log, "c")]);
    assert.equal(outcomes, [
      { ok: true, value: "a" },
      { ok: true, value: "b" },
      { ok: true, value: "c" },
    ]);
    for (const name of "abc")
      assert.equal(
        log.filter((entry) => entry.startsWith(name)),
        [`${name}0`, `${name}1`, `${name}2`],
      );
    return log.join(" ");
  };
  assert.is(orderOf(1), orderOf(1));
  assert.ok(new Set([1, 2, 3, 4, 5, 6, 7, 8].map(orderOf)).size > 3);
});

test("a lost update is found without a mutex and gone with one", () => {
  function* increment(storage: ReturnType<typeof memoryStorage>, mutex: Mutex | null): Op<void> {
    const release = mutex === null ? (): void => {} : yield* mutex.acquire();
    try {
      const bytes = new Uint8Array(1);
      yield* storageRead(storage, bytes, 0);
      bytes[0]!++;
      yield* storageWrite(storage, bytes, 0);
    } finally {
      release();
    }
  }
  const lost = (withMutex: boolean): number => {
    let wrong = 0;
    for (let seed = 0; seed < 50; seed++) {
      const storage = memoryStorage(1);
      const mutex = withMutex ? new Mutex() : null;
      runInterleaved(
        random(seed),
        Array.from({ length: 4 }, () => increment(storage, mutex)),
      );
      if (storage.toBytes()[0] !== 4) wrong++;
    }
    return wrong;
  };
  assert.ok(lost(false) > 25);
  assert.is(lost(true), 0);
});

test("who comes to a mutex again at once does not pass those who wait", () => {
  const storage = memoryStorage(1);
  const mutex = new Mutex();
  let isServed = false;
  let rounds = 0;
  function* greedy(): Op<void> {
    while (!isServed && ++rounds < 1000) {
      const release = yield* mutex.acquire();
      yield* storageRead(storage, new Uint8Array(1), 0);
      release();
    }
  }
  function* modest(): Op<void> {
    const release = yield* mutex.acquire();
    isServed = true;
    release();
  }
  runInterleaved(random(1), [greedy(), modest()]);
  assert.ok(rounds < 10, `${rounds} rounds`);
});

test("parallel operations become tasks; their failure reaches the parent after all have ended", () => {
  const log: string[] = [];
  function* fails(): Op<void> {
    yield* step(log, "x");
    throw new Error("no");
  }
  function* parent(): Op<string> {
    try {
      yield* parallel<unknown>([letters(log, "a"), fails(), letters(log, "b")]);
      return "?";
    } catch (error) {
      log.push("caught");
      return (error as Error).message;
    }
  }
  assert.equal(runInterleaved(random(7), [parent(), done(1)]), [
    { ok: true, value: "no" },
    { ok: true, value: 1 },
  ]);
  assert.is(log.length, 8);
  assert.is(log.at(-1), "caught");
});

test("a deadlock is found and described", () => {
  const queue = new WaitQueue();
  function* waits(): Op<void> {
    yield new WaitRequest(queue);
  }
  try {
    runInterleaved(random(1), [waits(), done(2)]);
    assert.unreachable();
  } catch (error) {
    assert.instance(error, DeadlockError);
    assert.match((error as Error).message, "1 operations wait for each other\n  op 0 after 1 steps: waiting in a queue");
  }
});

test("before may fail a request at its yield", () => {
  function* op(): Op<string> {
    try {
      yield* step([], "work");
      return "worked";
    } catch {
      return "failed";
    }
  }
  const before = (): void => {
    throw new Error("EIO");
  };
  assert.equal(runInterleaved(random(1), [op()], { before }), [{ ok: true, value: "failed" }]);
});

test.run();
