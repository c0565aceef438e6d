/** Images beyond 4 GiB on OPFS, through the package's worker entry: made, written, closed, opened again, checked. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { create, GiB, KiB, MiB, openOpfs, openSync, type SyncImage } from "../../src/worker.js";

const SIZE = 5 * GiB;
/** Around 2^31 and 2^32, at both ends, across cluster borders; none overlaps another. */
const PLACES = [0, 64 * KiB - 3, 2 * GiB - 100, 3 * GiB + 12_345, 4 * GiB - 5000, 4 * GiB + 512, 5 * GiB - 70_000];
const LENGTH = 70_000;

type OpfsHandle = Parameters<typeof openOpfs>[0];
async function fileHandle(name: string): Promise<OpfsHandle> {
  const directory = await navigator.storage.getDirectory();
  return (await directory.getFileHandle(name, { create: true })) as unknown as OpfsHandle;
}
const bytesAt = (at: number): Uint8Array => Uint8Array.from({ length: LENGTH }, (_, i) => 1 + ((i * 13 + (at % 251)) % 255));
const places = PLACES.filter((at, i) => i === 0 || at >= PLACES[i - 1]! + LENGTH);

function verify(image: SyncImage): void {
  for (const at of places) assert.equal(image.read(at, LENGTH), bytesAt(at), `at ${at}`);
  assert.ok(
    image.read(GiB, MiB).every((byte) => byte === 0),
    "what was never written reads as zeros",
  );
}

const large = suite("5 GiB on OPFS");

for (const format of ["qcow2", "raw"]) {
  large(`${format}: written, closed, opened again, checked`, async () => {
    const handle = await fileHandle(`large.${format}`);
    const fresh = await openOpfs(handle, { face: "sync" });
    await create(fresh, { format, size: SIZE });
    const first = openSync(fresh, { format, writable: true });
    assert.is(first.size, SIZE);
    for (const at of places) first.write(bytesAt(at), at);
    verify(first);
    first.close();
    fresh.sync!.close();

    const again = await openOpfs(handle, { face: "sync" });
    const image = openSync(again, { format, writable: true });
    assert.is(image.size, SIZE);
    verify(image);
    assert.throws(() => image.read(SIZE - 1, 2));
    if (format === "qcow2") {
      const result = image.check();
      assert.is(result.corruptions ?? 0, 0);
      assert.is(result.leaks ?? 0, 0);
      assert.is(result.checkErrors, 0);
      const data = image.extents().filter((entry) => entry.data);
      assert.ok(
        data.some((entry) => entry.start <= 4 * GiB + 512 && entry.start + entry.length > 4 * GiB + 512),
        "data beyond 4 GiB is in the map",
      );
      assert.ok((again.sync!.size() as number) < 16 * MiB, "the file holds what was written, not the whole disk");
    } else {
      assert.is(again.sync!.size(), SIZE);
    }
    image.writeZeroes(4 * GiB + 512, LENGTH, { unmap: true });
    assert.ok(image.read(4 * GiB + 512, LENGTH).every((byte) => byte === 0));
    image.close();
    again.sync!.close();
  });
}

large("qcow2: data beyond 4 GiB of the file itself", async () => {
  const handle = await fileHandle("far.qcow2");
  const storage = await openOpfs(handle, { face: "sync" });
  // Preallocated metadata puts the cluster of guest offset n near file offset n.
  await create(storage, { format: "qcow2", size: SIZE, preallocation: "metadata" });
  const image = openSync(storage, { format: "qcow2", writable: true });
  for (const at of places) image.write(bytesAt(at), at);
  verify(image);
  image.close();
  const again = openSync(storage, { format: "qcow2" });
  verify(again);
  const last = again.extents({ from: places.at(-1)! }).find((entry) => entry.data);
  assert.ok((last?.offset ?? 0) > 4 * GiB, `the last cluster is at ${last?.offset}`);
  const result = again.check();
  assert.is(result.corruptions ?? 0, 0);
  assert.is(result.leaks ?? 0, 0);
  again.close();
  storage.sync!.close();
});

large.run();
