/** The logic of the OPFS storages over stand-ins; the real thing is tested in a browser. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BlockError } from "../../../src/base/error.js";
import { openOpfs, opfsStorage, type OpfsFileHandle, type SyncAccessHandle } from "../../../src/storage/opfs.js";
import { rejects, storageSuite } from "../../conformance/storage-suite.js";

const domError = (name: string): Error => Object.assign(new Error(`${name} happened`), { name });

class FakeFile implements OpfsFileHandle {
  name = "disk.img";
  version = 0;
  copies = 0;
  locked = false;
  createSyncAccessHandle?: () => Promise<SyncAccessHandle>;

  constructor(
    public bytes: Uint8Array,
    withSync: boolean,
  ) {
    if (withSync) this.createSyncAccessHandle = async () => this.syncHandle();
  }

  async getFile(): Promise<{ size: number; slice(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> } }> {
    const { version, bytes } = this;
    return {
      size: bytes.length,
      slice: (start, end) => ({
        arrayBuffer: async () => {
          if (version !== this.version) throw domError("NotReadableError");
          return bytes.slice(start, end).buffer as ArrayBuffer;
        },
      }),
    };
  }

  async createWritable({ keepExistingData = false } = {}): Promise<{
    write(change: { type: "write"; position: number; data: Uint8Array } | { type: "truncate"; size: number }): Promise<void>;
    close(): Promise<void>;
  }> {
    this.copies++;
    let draft = keepExistingData ? this.bytes.slice() : new Uint8Array(0);
    const resize = (size: number): void => {
      const next = new Uint8Array(size);
      next.set(draft.subarray(0, size));
      draft = next;
    };
    return {
      write: async (change) => {
        if (change.type === "truncate") return resize(change.size);
        if (change.position + change.data.length > draft.length) resize(change.position + change.data.length);
        draft.set(change.data, change.position);
      },
      close: async () => {
        this.bytes = draft;
        this.version++;
      },
    };
  }

  private syncHandle(): SyncAccessHandle {
    if (this.locked) throw domError("NoModificationAllowedError");
    this.locked = true;
    const grow = (size: number): void => {
      const next = new Uint8Array(size);
      next.set(this.bytes.subarray(0, size));
      this.bytes = next;
    };
    return {
      read: (into, { at }) => {
        const part = this.bytes.subarray(at, at + into.length);
        into.set(part);
        return part.length;
      },
      write: (from, { at }) => {
        if (from.length > 0 && at + from.length > this.bytes.length) grow(at + from.length);
        this.bytes.set(from, at);
        return from.length;
      },
      getSize: () => this.bytes.length,
      truncate: grow,
      flush: () => {},
      close: () => void (this.locked = false),
    };
  }
}

let file: FakeFile;
const make = (withSync: boolean, options: Parameters<typeof openOpfs>[1]) => (content: Uint8Array) =>
  openOpfs((file = new FakeFile(content, withSync)), options);
const readBack = (): Uint8Array => file.bytes;

storageSuite("opfs", ["sync"], { make: make(true, {}), readBack, writable: true, growable: true });
storageSuite("opfs, asynchronous", ["async"], { make: make(false, {}), readBack, writable: true, growable: true });
storageSuite("opfs, asynchronous, small buffer", ["async"], {
  make: make(false, { writeBuffer: 100000 }),
  readBack,
  writable: true,
  growable: true,
});
storageSuite("opfs, read-only", ["sync"], { make: make(true, { readOnly: true }), writable: false, growable: true });

test("a file in use is ERR_BUSY", async () => {
  const handle = new FakeFile(new Uint8Array(10), true);
  const first = await openOpfs(handle);
  const error = await rejects(openOpfs(handle), "ERR_BUSY");
  assert.match(error.message, /^Could not open 'disk\.img': another access handle/);
  first.sync!.close();
  (await openOpfs(handle)).sync!.close();
});

test("where access handles are refused, the asynchronous way is taken", async () => {
  const handle = new FakeFile(new Uint8Array(10), true);
  handle.createSyncAccessHandle = async () => {
    throw domError("InvalidStateError");
  };
  assert.is((await openOpfs(handle)).sync, null);
  await rejects(openOpfs(handle, { face: "sync" }), "ERR_CLOSED");
  await rejects(openOpfs(new FakeFile(new Uint8Array(1), false), { face: "sync" }), "ERR_UNSUPPORTED");
});

test("nonsense from the browser is noticed", () => {
  const handle = (over: Partial<SyncAccessHandle>): SyncAccessHandle => ({
    read: () => 0,
    write: (from) => from.length,
    getSize: () => 0,
    truncate: () => {},
    flush: () => {},
    close: () => {},
    ...over,
  });
  const throws = (work: () => unknown, code: string): void =>
    assert.throws(work, (error: BlockError) => error.code === code, code);
  for (const count of [-1, 11, 1.5, NaN, 2 ** 32]) {
    throws(() => opfsStorage(handle({ read: () => count })).sync!.read(new Uint8Array(10), 0), "ERR_IO");
    throws(() => opfsStorage(handle({ write: () => count })).sync!.write(new Uint8Array(10), 0), "ERR_IO");
  }
  throws(() => opfsStorage(handle({ write: () => 0 })).sync!.write(new Uint8Array(10), 0), "ERR_NO_SPACE");
  throws(() => opfsStorage(handle({})).sync!.truncate(100), "ERR_NO_SPACE");
  throws(
    () =>
      opfsStorage(
        handle({
          write: () => {
            throw domError("QuotaExceededError");
          },
        }),
      ).sync!.write(new Uint8Array(10), 0),
    "ERR_NO_SPACE",
  );
  throws(() => opfsStorage(handle({ getSize: () => -5 })).sync!.size(), "ERR_IO");
});

test("writes are brought out together", async () => {
  const handle = new FakeFile(new Uint8Array(1000000), false);
  const storage = await openOpfs(handle);
  for (let i = 0; i < 100; i++) await storage.async!.write(new Uint8Array(100).fill(i + 1), i * 5000);
  assert.is(handle.copies, 0);
  await storage.async!.flush();
  assert.is(handle.copies, 1);
  await storage.async!.flush();
  assert.is(handle.copies, 1, "nothing to do");
  await storage.async!.write(new Uint8Array([7]), 1000000);
  await storage.async!.close();
  assert.is(handle.bytes.length, 1000001);
  assert.is(handle.bytes[1000000], 7);
});

test("a failure to bring out is reported and can be tried again", async () => {
  const handle = new FakeFile(new Uint8Array(10), false);
  const storage = await openOpfs(handle);
  await storage.async!.write(new Uint8Array([7]), 3);
  const { createWritable } = handle;
  handle.createWritable = async () => {
    throw domError("QuotaExceededError");
  };
  await rejects(storage.async!.flush(), "ERR_NO_SPACE");
  handle.createWritable = createWritable;
  await storage.async!.flush();
  assert.is(handle.bytes[3], 7);
});

test.run();
