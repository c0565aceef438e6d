/** Copies that read from a file on another thread while they write: the same bytes and the same failures as on the spot. */
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../src/base/error.js";
import { runAsync, StorageRequest } from "../../../src/block/op.js";
import { convertImage, type ConvertRequest } from "../../../src/image/convert-image.js";
import { allowAll, nodeEnvironment, type FileCalls } from "../../../src/platform/node-environment.js";
import { openFileStorage } from "../../../src/storage/node-fs.js";
import { chooseSeed, random } from "../../support/random.js";
import { tempPath } from "../../support/temp.js";

const MiB = 1024 * 1024;
const SIZE = 13 * MiB + 4096 + 512;
const EVERY: FileCalls[] = ["sync", "ahead", "both"];

const seed = chooseSeed();
console.log(`seed ${seed}`);

function mixed(): Uint8Array {
  const choose = random(seed);
  const bytes = new Uint8Array(SIZE);
  for (let at = 0; at < SIZE;) {
    const length = Math.min(SIZE - at, 512 * (1 + choose.int(3000)));
    if (choose.int(3) > 0) bytes.set(choose.bytes(length), at);
    at += length;
  }
  return bytes;
}

function convert(calls: FileCalls, from: string, to: string, more: Partial<ConvertRequest> = {}): Promise<void> {
  const environment = nodeEnvironment({ gate: allowAll, faces: calls });
  const request = { sources: [{ filename: from }], target: { filename: to, format: "qcow2" }, ...more };
  return runAsync(convertImage(environment, request));
}

test("large reads of such a file are waited for, everything else is done on the spot", () => {
  const file = tempPath();
  writeFileSync(file, "");
  const storage = openFileStorage(file, { faces: "ahead", readOnly: true });
  const awaits = (length: number): boolean => new StorageRequest(storage, "read", 0, length).isAsync;
  const from = storage.awaitReadsFrom!;
  assert.ok(from >= 65536 && from <= MiB);
  assert.ok(awaits(from));
  assert.not.ok(awaits(from - 1));
  for (const verb of ["write", "flush", "size", "extents", "truncate", "close"] as const)
    assert.not.ok(new StorageRequest(storage, verb, 0, MiB).isAsync, verb);
  storage.sync!.close();
});

test("the same content, in any number of pieces at a time", async () => {
  const content = mixed();
  const raw = tempPath("from.raw");
  writeFileSync(raw, content);
  const images = new Map<string, Buffer>();
  for (const calls of EVERY) {
    for (const parallel of [1, 2, 5]) {
      const image = tempPath(`${calls}-${parallel}.qcow2`);
      await convert(calls, raw, image, { parallel });
      const back = tempPath(`${calls}-${parallel}.raw`);
      await convert(calls, image, back, { parallel, target: { filename: back, format: "raw" } });
      assert.ok(readFileSync(back).subarray(0, SIZE).equals(content), `${calls}, ${parallel}`);
      images.set(`${calls}, ${parallel}`, readFileSync(image));
    }
  }
  // Written in order, so laid out alike.
  const [first, ...others] = images.values();
  for (const other of others) assert.ok(other.equals(first!));
});

test("a source that gets shorter meanwhile", async () => {
  const outcomes: string[] = [];
  for (const calls of EVERY) {
    const raw = tempPath("shrinking.raw");
    writeFileSync(raw, mixed().fill(7));
    let left = true;
    const shrink = ({ done }: { done: number }): void => {
      if (left && done > 0) truncateSync(raw, 5 * MiB);
      left &&= done === 0;
    };
    try {
      await convert(calls, raw, tempPath("out.qcow2"), { onProgress: shrink, parallel: 2 });
      outcomes.push("done");
    } catch (error) {
      assert.instance(error, BlockError);
      outcomes.push((error as BlockError).message.replace(/\d+/, "…"));
    }
  }
  assert.equal(
    outcomes,
    EVERY.map(() => "error while reading at byte …: Input/output error"),
  );
});

test("a copy is given up between two pieces", async () => {
  const raw = tempPath("aborted.raw");
  writeFileSync(raw, mixed().fill(7));
  for (const calls of EVERY) {
    const controller = new AbortController();
    let most = 0;
    const onProgress = ({ done }: { done: number }): void => {
      most = done;
      if (done > 4 * MiB) controller.abort();
    };
    try {
      await convert(calls, raw, tempPath("out.qcow2"), { onProgress, signal: controller.signal, parallel: 2 });
      assert.unreachable();
    } catch (error) {
      assert.is((error as BlockError).code, "ERR_ABORTED");
    }
    assert.ok(most <= 8 * MiB, `${calls}: ${most}`);
  }
});

test.run();
