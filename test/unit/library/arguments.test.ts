/** What callers pass by mistake is an error that says what, where and what to do, never an empty answer; and what they pass well works. */
import { existsSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as edge from "../../../src/edge.js";
import {
  BlockCore,
  BlockError,
  compare,
  convert,
  convertToStream,
  create,
  measure,
  MiB,
  memoryStorage,
  open,
  openSync,
  planConvert,
  type MemoryStorage,
} from "../../../src/node.js";
import { loopback } from "../../support/loopback.js";
import { tempPath } from "../../support/temp.js";

async function failure(work: () => unknown): Promise<BlockError> {
  try {
    await work();
  } catch (error) {
    assert.instance(error, BlockError, String(error));
    return error as BlockError;
  }
  return assert.unreachable("it should have failed") as never;
}
/** @param says must be in the message or the hint */
async function refused(code: string, says: RegExp, work: () => unknown): Promise<void> {
  const error = await failure(work);
  assert.is(error.code, code, error.message);
  assert.match(`${error.message} ${error.hint ?? ""}`, says);
}
async function disk(): Promise<MemoryStorage> {
  const storage = memoryStorage(0);
  await create(storage, { format: "qcow2", size: 8 * MiB });
  return storage;
}

const args = suite("arguments");

args("options that there are not", async () => {
  const storage = await disk();
  await refused("ERR_INVALID_ARGUMENT", /'write'.*writable/, () => open(storage, { write: true } as never));
  await refused("ERR_INVALID_ARGUMENT", /'write'/, () => openSync(storage, { write: true } as never));
  await refused("ERR_INVALID_ARGUMENT", /fromat/, () => convert(storage, memoryStorage(0), { fromat: "raw" } as never));
  await refused("ERR_INVALID_ARGUMENT", /fromat/, () => convertToStream(storage, { fromat: "raw" } as never));
  await refused("ERR_INVALID_ARGUMENT", /cluster_szie.*cluster_size/, () =>
    create(memoryStorage(0), { format: "qcow2", size: MiB, clusterSzie: 4096 }),
  );
  await refused("ERR_INVALID_ARGUMENT", /'file'.*files/, () => new BlockCore({ file: {} } as never));
  await refused("ERR_INVALID_ARGUMENT", /profile/, () => new BlockCore({ profile: "qemu-9" } as never));
  await refused("ERR_INVALID_ARGUMENT", /references/, () => new BlockCore({ references: true } as never));
  await refused("ERR_INVALID_ARGUMENT", /references/, () => open(storage, { references: true } as never));
});

args("options that methods do not have", async () => {
  const storage = await disk();
  const image = await open(storage, { writable: true });
  const sync = openSync(memoryStorage(storage.toBytes()), { writable: true });
  const other = { other: 1 } as never;
  for (const call of [
    () => image.check(other),
    () => image.writeZeroes(0, 512, other),
    () => image.resize(16 * MiB, other),
    () => image.extents(other).next(),
    () => image.stream(other),
    () => sync.check({ fix: "all" } as never),
    () => sync.writeZeroes(0, 512, other),
    () => sync.resize(16 * MiB, other),
    () => sync.extents(other),
    () => measure(image, { format: "raw", ...(other as object) }),
    () => planConvert(image, { format: "raw", ...(other as object) }),
  ])
    await refused("ERR_INVALID_ARGUMENT", /has no option '(other|fix)'.*It has: /, call);
  await refused("ERR_INVALID_ARGUMENT", /object/, () => image.check("all" as never));
  await refused("ERR_INVALID_ARGUMENT", /repair/, () => image.check({ repair: "leak" as never }));
  for (const resize of [() => image.resize(16 * MiB, { preallocation: "on" as never })])
    await refused("ERR_INVALID_ARGUMENT", /'on'.*falloc/, resize);
  assert.is(image.size, 8 * MiB);
  await image.close();
  sync.close();
  // The options of the new image have a place of their own: nothing is written before that is said.
  const target = memoryStorage(0);
  await refused("ERR_INVALID_ARGUMENT", /'clusterSize'.*options/, () =>
    convert(storage, target, { format: "qcow2", clusterSize: 4096 } as never),
  );
  assert.is(target.sync.size(), 0);
});

args("check says the same in both kinds of images", async () => {
  const storage = await disk();
  const image = await open(storage);
  const report = await image.check();
  assert.equal(report.problems, []);
  await image.close();
  const sync = openSync(storage);
  assert.equal(sync.check(), report);
  assert.throws(() => sync.check({ repair: true }), /read-write/);
  assert.equal(sync.check({ repair: true, dryRun: true }), report);
  sync.close();
});

args("options of formats in camelCase and in QEMU's spelling", async () => {
  const secrets = { s: "secret" };
  for (const options of [
    { clusterSize: 4096, lazyRefcounts: true, encrypt: { format: "luks", keySecret: "s", iterTime: 10 } },
    { cluster_size: 4096, lazy_refcounts: "on", "encrypt.format": "luks", "encrypt.key-secret": "s", "encrypt.iter-time": 10 },
  ]) {
    const storage = memoryStorage(0);
    await create(storage, { format: "qcow2", size: MiB, secrets, ...options });
    for (const opening of [
      {
        lazyRefcounts: false,
        l2CacheSize: 65536,
        encrypt: { keySecret: "s" },
        overlapCheck: { template: "all", mainHeader: false },
      },
      { "lazy-refcounts": false, "l2-cache-size": 65536, "encrypt.key-secret": "s", detectZeroes: "on" },
    ]) {
      const image = await open(storage, { secrets, options: opening });
      assert.is((await image.imageInfo())["cluster-size"], 4096);
      await image.close();
    }
  }
  const luks = memoryStorage(0);
  await create(luks, { format: "luks", size: MiB, secrets, keySecret: "s", ivgenAlg: "plain64", iterTime: 10 });
  await (await open(luks, { secrets, options: { keySecret: "s" } })).close();
  const plan = await planConvert(await open(luks, { secrets, options: { keySecret: "s" } }), {
    format: "luks",
    options: { keySecret: "s" },
  });
  assert.equal(plan.options, [{ name: "key-secret", value: "s" }]);
  const vhd = memoryStorage(0);
  await create(vhd, { format: "vpc", size: MiB, forceSize: true });
  await (await open(vhd, { format: "vpc", options: { forceSizeCalc: "current_size" } })).close();

  await refused("ERR_INVALID_ARGUMENT", /'cluster_size' is given twice/, () =>
    create(memoryStorage(0), { format: "qcow2", size: MiB, clusterSize: 4096, cluster_size: 512 }),
  );
  const storage = await disk();
  await refused("ERR_INVALID_ARGUMENT", /'l2-cache-size' is given twice/, () =>
    open(storage, { options: { l2CacheSize: 65536, "l2-cache-size": 65536 } }),
  );
  await refused("ERR_INVALID_ARGUMENT", /'file'/, () => open(storage, { options: { file: { driver: "null-co" } } }));
  await refused("ERR_INVALID_ARGUMENT", /'l3-cache-size'/, () => open(storage, { options: { l3CacheSize: 65536 } }));
});

args("formats and sizes", async () => {
  const storage = await disk();
  await refused("ERR_UNSUPPORTED", /qcow3.*qcow2/, () => open(storage, { format: "qcow3" }));
  await refused("ERR_UNSUPPORTED", /qcow3.*qcow2/, () => create(memoryStorage(0), { format: "qcow3", size: MiB }));
  await refused("ERR_INVALID_ARGUMENT", /format/, () => create(memoryStorage(0), { size: MiB } as never));
  for (const size of ["1G", 1.5, -1, NaN, 2 ** 60]) {
    for (const target of [memoryStorage(0), tempPath("size.qcow2")])
      await refused("ERR_INVALID_ARGUMENT", /whole number of bytes/, () => create(target, { format: "qcow2", size } as never));
  }
  assert.not.ok(existsSync(tempPath("size.qcow2")));
});

args("targets that cannot keep an image", async () => {
  const storage = await disk();
  await refused("ERR_READ_ONLY", /memoryStorage/, () => create(new Uint8Array(MiB), { format: "raw", size: MiB }));
  await refused("ERR_READ_ONLY", /memoryStorage/, () => convert(storage, new ArrayBuffer(MiB)));
  await refused("ERR_READ_ONLY", /cannot be written/, () => convert(storage, new Blob([])));
});

args("ranges and bytes, in both kinds of images", async () => {
  const storage = await disk();
  const image = await open(storage, { writable: true });
  const drain = async (from: number, to?: number): Promise<void> => {
    for await (const _ of image.extents({ from, ...(to === undefined ? {} : { to }) }));
  };
  for (const bad of [-1, 0.5, NaN, 8 * MiB + 1]) {
    await refused("ERR_OUT_OF_RANGE", /range|outside/, () => image.read(bad, 1));
    await refused("ERR_OUT_OF_RANGE", /range/, () => drain(bad));
    await refused("ERR_OUT_OF_RANGE", /range/, () => image.stream({ start: bad }));
    await refused("ERR_OUT_OF_RANGE", /outside/, () => image.write(new Uint8Array(1), bad));
    await refused("ERR_OUT_OF_RANGE", /outside/, () => image.writeZeroes(bad, 1));
  }
  await refused("ERR_OUT_OF_RANGE", /range/, () => drain(4, 2));
  await drain(8 * MiB);
  await drain(0, Infinity);
  for (const length of [NaN, -1, 0.5]) {
    await refused("ERR_OUT_OF_RANGE", /outside/, () => image.read(0, length));
    await refused("ERR_OUT_OF_RANGE", /outside/, () => image.writeZeroes(0, length));
    await refused("ERR_OUT_OF_RANGE", /outside/, () => image.discard(0, length));
  }
  for (const bytes of ["text", [1, 2], new ArrayBuffer(2), new Uint16Array(2), undefined]) {
    await refused("ERR_INVALID_ARGUMENT", /Uint8Array/, () => image.write(bytes as never, 0));
    await refused("ERR_INVALID_ARGUMENT", /Uint8Array/, () => image.readInto(bytes as never, 0));
  }
  await image.write(Buffer.from("ok"), 0);
  await refused("ERR_INVALID_ARGUMENT", /whole number/, () => image.resize("1G" as never));
  await image.close();
  const sync = openSync(storage);
  await refused("ERR_OUT_OF_RANGE", /outside/, () => sync.read(0, 2 ** 40));
  await refused("ERR_OUT_OF_RANGE", /range/, () => sync.extents({ from: -1 }));
  await refused("ERR_INVALID_ARGUMENT", /Uint8Array/, () => sync.readInto([] as never, 0));
  assert.equal(sync.extents({ from: 8 * MiB }), []);
  sync.close();
});

args("changing what is open for reading only", async () => {
  const storage = await disk();
  const image = await open(storage);
  const sync = openSync(storage);
  for (const change of [
    () => image.write(new Uint8Array(1), 0),
    () => image.writeZeroes(0, 1),
    () => image.discard(0, 1),
    () => image.resize(MiB),
    () => image.createSnapshot("x"),
    () => sync.write(new Uint8Array(1), 0),
    () => sync.resize(MiB),
  ])
    await refused("ERR_READ_ONLY", /writable: true/, change);
  await image.close();
  sync.close();
});
args.run();

// ---- sources --------------------------------------------------------------------------------------------------------

const sources = suite("sources");

sources("a chain by its URL, where references are allowed: in Node.js by name and by URL, elsewhere by URL", async () => {
  const server = await loopback();
  try {
    const made: Record<string, Uint8Array> = {};
    for (const [name, backing] of [
      ["base", null],
      ["top", "../images/base.qcow2"],
    ] as const) {
      const storage = memoryStorage(0);
      const names = backing === null ? {} : { backing, backingFormat: "qcow2" };
      await create(storage, { format: "qcow2", size: MiB, ...names });
      const image = await open(storage, { writable: true, noBacking: true });
      if (backing === null) await image.write(new Uint8Array(65536).fill(7), 0);
      await image.close();
      made[name] = storage.toBytes();
    }
    for (const [name, content] of Object.entries(made))
      server.bodies.set(`/images/${name}.qcow2`, { type: "application/octet-stream", content });
    server.bodies.set("/images/../images/base.qcow2", server.bodies.get("/images/base.qcow2")!);
    const url = `${server.address}/images/top.qcow2`;
    const read = async (opening: Promise<edge.Image>): Promise<number> => {
      const image = await opening;
      const [byte] = await image.read(100, 1);
      await image.close();
      return byte!;
    };
    assert.is(await read(open(url, { references: "allow" })), 7);
    assert.is(await read(open(new URL(url), { references: "allow" })), 7);
    assert.is(await read(edge.open(new URL(url), { references: "allow" })), 7);
    assert.is(await read(edge.open(new URL(url), { references: ({ resolved }) => new URL(resolved) })), 7);
    await refused("ERR_DENIED", /references/, () => edge.open(new URL(url)));
    await refused("ERR_UNSUPPORTED", /by the name.*references/, () =>
      edge.open(new Blob([made["top"] as Uint8Array<ArrayBuffer>]), { references: () => true }),
    );
  } finally {
    await server.close();
  }
});

sources("in Node.js URLs mean what their protocol says", async () => {
  const path = tempPath("with space.qcow2");
  await create(pathToFileURL(path), { format: "qcow2", size: MiB });
  const image = await open(pathToFileURL(path));
  assert.is(image.name, path);
  await image.close();
  for (const name of ["nbd://127.0.0.1:1/x", new URL("nbd://127.0.0.1:1/x")])
    await refused("ERR_IO", /Connection refused/, () => open(name));
  await refused("ERR_UNSUPPORTED", /Unknown protocol 'gopher'/, () => open(new URL("gopher://x/y")));
  const missing = tempPath("missing");
  assert.is((await failure(() => open(missing))).message, `Could not open '${missing}': No such file or directory`);
});

sources("file handles are opened when needed, and closed again", async () => {
  const content = memoryStorage(0);
  let open_ = 0;
  const { sync } = content;
  const handle = {
    name: "disk.qcow2",
    getFile: () => Promise.reject(new Error("not wanted")),
    createSyncAccessHandle: async () => {
      open_++;
      return {
        read: (into: Uint8Array, { at }: { at: number }) => sync.read(into, at),
        write: (from: Uint8Array, { at }: { at: number }) => (sync.write(from, at), from.length),
        getSize: () => sync.size(),
        truncate: (size: number) => sync.truncate(size),
        flush: () => {},
        close: () => void open_--,
      };
    },
  } as unknown as edge.Source;
  await edge.create(handle, { format: "qcow2", size: MiB });
  assert.is(open_, 0);
  await edge.convert(await disk(), handle, { format: "qcow2" });
  assert.is(open_, 0);
  const image = await edge.open(handle, { writable: true });
  assert.is(image.size, 8 * MiB);
  assert.is(open_, 1);
  await image.close();
  assert.is(open_, 0);
  await refused("ERR_UNSUPPORTED", /only possible asynchronously/, () => edge.openSync(handle));
  await new Promise((resolve) => setTimeout(resolve));
  assert.is(open_, 0);
  const core = new edge.BlockCore({ files: { disk: handle as never } });
  await core.execute("blockdev-add", { driver: "file", "node-name": "n", filename: "disk" });
  assert.is(open_, 1);
  await core.close();
  assert.is(open_, 0);
});

sources("access handles and objects that were passed stay open, whatever was done with them", async () => {
  const content = memoryStorage(0);
  const { sync } = content;
  let closed = 0;
  const handle = {
    read: (into: Uint8Array, { at }: { at: number }) => sync.read(into, at),
    write: (from: Uint8Array, { at }: { at: number }) => (sync.write(from, at), from.length),
    getSize: () => sync.size(),
    truncate: (size: number) => sync.truncate(size),
    flush: () => {},
    close: () => void closed++,
  };
  await edge.convert(await disk(), handle, { format: "qcow2" });
  await (await edge.open(handle)).close();
  edge.openSync(handle).close();
  const object = { size: 1024, read: (into: Uint8Array) => into.length, close: () => void closed++ };
  await (await edge.open(object, { format: "raw" })).close();
  assert.is(closed, 0);
});

sources("compare takes what convert takes", async () => {
  const [a, b] = [await disk(), await disk()];
  assert.equal(await compare(a, b), { identical: true });
  const image = await open(b, { writable: true });
  await image.write(new Uint8Array(512).fill(1), MiB);
  const found = await compare(a, image);
  assert.ok(!found.identical && found.reason === "content" && found.offset === MiB);
  await image.close();
});
sources.run();

// ---- ends -----------------------------------------------------------------------------------------------------------

const ends = suite("ends");

ends("an abort ends a conversion that waits for its rate limit", async () => {
  const storage = await disk();
  const image = await open(storage, { writable: true });
  await image.write(new Uint8Array(8 * MiB).fill(1), 0);
  const ending = new AbortController();
  // At this rate the second piece would wait for more than half an hour.
  const converting = convert(image, memoryStorage(0), {
    rateLimit: 1000,
    parallel: 2,
    signal: ending.signal,
    onProgress: ({ done }) => done > 0 && ending.abort(),
  });
  await refused("ERR_ABORTED", /aborted/, () => converting);
  await image.close();
});

ends("an abort ends a stream that is being read", async () => {
  const storage = await disk();
  const image = await open(storage, { writable: true });
  await image.write(new Uint8Array(8 * MiB).fill(1), 0);
  await image.close();
  const ending = new AbortController();
  const { stream } = await convertToStream(storage, { signal: ending.signal });
  const reader = stream.getReader();
  await reader.read();
  ending.abort();
  await refused("ERR_ABORTED", /aborted/, async () => {
    while (!(await reader.read()).done);
  });
});

ends("what comes after close() is told so", async () => {
  const core = new BlockCore();
  await core.execute("blockdev-add", { driver: "null-co", "node-name": "n", size: MiB });
  const node = core.disk("n");
  await core.close();
  await refused("ERR_CLOSED", /close/, () => core.execute("blockdev-add", { driver: "null-co", "node-name": "m", size: MiB }));
  await refused("ERR_CLOSED", /closed/, () => node.read(0, 1));
  await core.close();
  const image = await open(await disk());
  await image.close();
  await refused("ERR_CLOSED", /closed/, () => image.read(0, 1));
});

ends.run();
