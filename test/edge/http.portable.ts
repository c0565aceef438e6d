/** The HTTP storage over the runtime's own fetch. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { httpStorage } from "../../src/storage/http.js";
import { place } from "../support/portable.js";

const SIZE = 1048576 + 13;
const pattern = (offset: number): number => (offset % 251) ^ (Math.floor(offset / 65536) & 255);

const http = suite("HTTP storage");

http("reads any range of a remote object", async () => {
  const storage = await httpStorage(`${place().server}/pattern`);
  const face = storage.async!;
  assert.is(await face.size(), SIZE);
  for (const [offset, length] of [
    [0, 1],
    [65530, 20],
    [500_000, 200_000],
    [SIZE - 5, 5],
  ] as const) {
    const into = new Uint8Array(length);
    assert.is(await face.read(into, offset), length);
    const wrong = into.findIndex((byte, i) => byte !== pattern(offset + i));
    assert.is(wrong, -1, `byte ${offset + wrong}`);
  }
  const end = new Uint8Array(10);
  assert.is(await face.read(end, SIZE - 4), 4);
  await face.close();
});

http("an object that is not there is a clear error", async () => {
  await httpStorage(`${place().server}/nothing`).then(
    () => assert.unreachable("it opened"),
    (error: { code?: string }) => assert.is(error.code, "ERR_NOT_FOUND"),
  );
});

http.run();
