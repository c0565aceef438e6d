/** The storages that tests are made with must keep the rules, too. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BlockError } from "../../../src/base/error.js";
import { memoryStorage, type MemoryStorage } from "../../../src/storage/memory.js";
import { rejects, storageSuite } from "../../conformance/storage-suite.js";
import { faultyStorage } from "../../support/faulty.js";
import { chooseSeed, random } from "../../support/random.js";
import { recordingStorage } from "../../support/recording.js";

let base: MemoryStorage;
const options = { readBack: () => base.toBytes(), writable: true, growable: true, holes: true };
storageSuite("recording", ["sync"], { ...options, make: (content) => recordingStorage((base = memoryStorage(content))) });
storageSuite("faulty, healthy", ["sync"], { ...options, make: (content) => faultyStorage((base = memoryStorage(content))) });
storageSuite("faulty, delayed", ["async"], {
  ...options,
  size: 250000,
  make: (content) =>
    faultyStorage((base = memoryStorage(content)), {
      makeAsync: true,
      face: "async",
      delay: { random: random(chooseSeed()), turns: 1 },
    }),
});

test("a recording replays to the same bytes", () => {
  const memory = memoryStorage(5000);
  const recorded = recordingStorage(memory);
  recorded.sync!.write(new Uint8Array([1, 2, 3]), 10);
  recorded.sync!.write(new Uint8Array(600).fill(9), 1000);
  recorded.sync!.write(new Uint8Array(0), 0);
  recorded.log({ op: "gw", id: 1, o: 0, n: 512, fill: 7 });
  recorded.sync!.flush();
  recorded.sync!.writeZeroes!(1000, 10, {});
  assert.is(
    recorded.toText(),
    [
      '{"op":"w","o":10,"n":3,"b64":"AQID"}',
      '{"op":"w","o":1000,"n":600,"fill":9}',
      '{"op":"gw","id":1,"o":0,"n":512,"fill":7}',
      '{"op":"f"}',
      '{"op":"z","o":1000,"n":10}',
      "",
    ].join("\n"),
  );
});

test("faults come at the n-th call, once or for ever, by range, in part", async () => {
  const memory = memoryStorage(10000);
  const faulty = faultyStorage(memory, { makeAsync: true });
  const throws = (work: () => void, errno: string): void => assert.throws(work, (error: BlockError) => error.errno === errno);
  const io = faulty.sync!;
  faulty.fail({ operation: "write", errno: "ENOSPC", nth: 2, partial: 0.5 });
  io.write(new Uint8Array([1]), 0);
  throws(() => io.write(new Uint8Array([5, 5, 5, 5]), 100), "ENOSPC");
  assert.equal([...memory.toBytes(100, 4)], [5, 5, 0, 0]);
  io.write(new Uint8Array([1]), 0);
  faulty.fail({ operation: "read", errno: "EIO", range: { offset: 1000, length: 10 }, forever: true });
  assert.is(io.read(new Uint8Array(10), 0), 10);
  throws(() => io.read(new Uint8Array(10), 995), "EIO");
  throws(() => io.read(new Uint8Array(10), 1009), "EIO");
  assert.is(io.read(new Uint8Array(10), 1010), 10);
  await rejects(faulty.async!.read(new Uint8Array(10), 1000), "ERR_IO");
  faulty.heal();
  assert.is(io.read(new Uint8Array(10), 1000), 10);
  assert.is(faulty.calls.write, 3);
});

test.run();
