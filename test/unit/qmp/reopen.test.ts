/** Reopening nodes, changing children, permissions, thresholds, amending. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { allFilters } from "../../../src/platform/all-filters.js";
import { read, write } from "../../../src/block/io.js";
import { runAsync } from "../../../src/block/op.js";
import { nullDrivers } from "../../../src/filters/null.js";
import { luks } from "../../../src/formats/luks/luks.js";
import { qcow2 } from "../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../src/formats/raw/raw.js";
import type { JsonObject } from "../../../src/qapi/json.js";
import { BlockCore, type QmpEvent } from "../../../src/qmp/block-core.js";
import { makeWorld } from "../../support/world.js";
import { refused } from "../../support/refused.js";

const MiB = 1 << 20;
/** As in QEMU's own test of reopening. */
const hd = (i: number, more: JsonObject = {}): JsonObject => ({
  driver: "qcow2",
  "node-name": `hd${i}`,
  file: { driver: "file", "node-name": `hd${i}-file`, filename: `hd${i}` },
  ...more,
});

interface Setup {
  core: BlockCore;
  events: QmpEvent[];
  add(options: JsonObject): Promise<unknown>;
  reopen(...options: JsonObject[]): Promise<unknown>;
  /** The error of reopening. */
  no(options: JsonObject | JsonObject[], message: string): Promise<void>;
  /** The first byte of each MiB. */
  look(node: string): Promise<number[]>;
}

/** hd0: 0xa0 in its first MiB; hd1 over hd0: 0xa1 in its second; hd2: 0xa2 in its third. */
async function setUp(): Promise<Setup> {
  const world = makeWorld({ mode: "async", drivers: [raw, qcow2, luks, ...allFilters, ...nullDrivers], seed: 1 });
  for (const i of [0, 1, 2]) {
    await world.create("qcow2", `hd${i}`, 3 * MiB, i === 1 ? { backing_file: "hd0", backing_fmt: "qcow2" } : {});
    const node = await world.open("qcow2", `hd${i}`);
    await world.run(write(node, new Uint8Array(MiB).fill(0xa0 + i), i * MiB));
    await world.close(node);
  }
  const core = new BlockCore({ environment: world.environment });
  const events: QmpEvent[] = [];
  core.on((event) => void events.push(event));
  const reopen = (...options: JsonObject[]): Promise<unknown> => core.execute("blockdev-reopen", { options });
  return {
    core,
    events,
    add: (options) => core.execute("blockdev-add", options),
    reopen,
    async no(options, message) {
      assert.is((await refused(reopen(...(Array.isArray(options) ? options : [options])))).message, message);
    },
    async look(name) {
      const bytes: number[] = [];
      const node = core.node(name);
      for (let at = 0; at < node.size; at += MiB) {
        const into = new Uint8Array(1);
        await runAsync(read(node, into, at));
        bytes.push(into[0]!);
      }
      return bytes;
    },
  };
}

const graph = async (core: BlockCore): Promise<string> => JSON.stringify(await core.execute("query-named-block-nodes"));
const info = async (core: BlockCore, name: string): Promise<JsonObject> =>
  ((await core.execute("query-named-block-nodes")) as JsonObject[]).find((node) => node["node-name"] === name)!;

test("what cannot be changed, in QEMU's words; nothing has changed then", async () => {
  const { core, add, reopen, no } = await setUp();
  await add(hd(0));
  const before = await graph(core);
  await reopen(hd(0));
  await reopen(hd(0, { file: "hd0-file" }));
  const inFile = (more: JsonObject): JsonObject => hd(0, { file: { ...(hd(0)["file"] as JsonObject), ...more } });
  await no(hd(0, { "node-name": "x" }), "Failed to find node with node-name='x'");
  await no({ driver: "raw", "node-name": "hd0", file: "hd0-file" }, "Cannot change the option 'driver'");
  await no(hd(0, { file: "x" }), "Cannot find device='' nor node-name='x'");
  await no(inFile({ "node-name": "newname" }), "Cannot change the option 'node-name'");
  await no(inFile({ filename: "hd1" }), "Cannot change the option 'filename'");
  await no(inFile({ locking: "off" }), "Cannot change the option 'locking'");
  await no(hd(0, { "force-share": true }), "Cannot change the option 'force-share'");
  await no({ driver: "qcow2", file: "hd0-file" }, "node-name not specified");
  await no(
    hd(0, { "detect-zeroes": "unmap" }),
    "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap",
  );
  await no(
    hd(0, { "l2-cache-entry-size": 128 * 1024 }),
    "L2 cache entry size must be a power of two between 512 and the cluster size (65536)",
  );
  assert.is(await graph(core), before);
  await core.close();
});

test("access, discard, detect-zeroes, options of the driver; what is left out is the default again", async () => {
  const { core, add, reopen, look } = await setUp();
  const opts = hd(1, { backing: hd(0) });
  await add(opts);
  const before = await graph(core);
  await reopen({ ...opts, "read-only": true });
  assert.is((await info(core, "hd1"))["ro"], true);
  assert.is((await info(core, "hd1-file"))["ro"], true);
  await reopen({ ...opts, "detect-zeroes": "unmap", discard: "unmap", cache: { direct: true, "no-flush": true } });
  assert.is((await info(core, "hd1"))["ro"], false);
  assert.is((await info(core, "hd1"))["detect_zeroes"], "unmap");
  assert.equal((await info(core, "hd1"))["cache"], { writeback: true, direct: true, "no-flush": true });
  await reopen({ ...opts, "l2-cache-size": 4 * MiB, "refcount-cache-size": 4 * MiB, "lazy-refcounts": true });
  await runAsync(write(core.node("hd1"), new Uint8Array(512).fill(9), MiB));
  assert.equal(await look("hd1"), [0xa0, 9, 0]);
  await reopen(opts);
  assert.is(await graph(core), before);
  await core.close();
});

test("other children: backing files and files, through caches that belong to the old ones", async () => {
  const { core, add, reopen, no, look } = await setUp();
  const opts = [0, 1, 2].map((i) => hd(i, { backing: null }));
  for (const each of opts) await add(each);
  assert.equal(await look("hd1"), [0, 0xa1, 0]);
  await reopen({ ...opts[0]!, backing: "hd1" });
  assert.equal(await look("hd0"), [0xa0, 0xa1, 0]);
  await reopen({ ...opts[1]!, backing: "hd2" });
  assert.equal(await look("hd0"), [0xa0, 0xa1, 0xa2]);
  await no({ ...opts[2]!, backing: "hd1" }, "Making 'hd1' a backing child of 'hd2' would create a cycle");
  await no({ ...opts[1]!, backing: "hd1" }, "Making 'hd1' a backing child of 'hd1' would create a cycle");
  await no(hd(1), "backing is missing for 'hd1'");
  assert.is(
    (await refused(core.execute("blockdev-del", { "node-name": "hd2" }))).message,
    "Node 'hd2' is busy: node is used as backing hd of 'hd1'",
  );
  await reopen(opts[0]!);
  await reopen(opts[1]!);
  assert.equal(await look("hd0"), [0xa0, 0, 0]);
  const conflict = (file: number, user: number): string =>
    `Permission conflict on node 'hd${file}-file': permissions 'write, resize' are both required by node 'hd${file}' (uses node 'hd${file}-file' as 'file' child) and unshared by node 'hd${user}' (uses node 'hd${file}-file' as 'file' child).`;
  await no({ ...opts[2]!, file: "hd0-file" }, conflict(0, 2));
  await no({ ...opts[0]!, file: "hd2-file" }, conflict(2, 0));
  assert.equal(await look("hd2"), [0, 0, 0xa2]);
  const swapped = [
    { ...opts[0]!, file: "hd2-file" },
    { ...opts[2]!, file: "hd0-file" },
  ];
  await reopen(...swapped);
  assert.equal(
    [await look("hd0"), await look("hd2")],
    [
      [0, 0, 0xa2],
      [0xa0, 0, 0],
    ],
  );
  await runAsync(write(core.node("hd0"), new Uint8Array(512).fill(3), 0));
  assert.equal(
    [await look("hd0"), await look("hd2")],
    [
      [3, 0, 0xa2],
      [0xa0, 0, 0],
    ],
  );
  await reopen({ ...opts[0]!, file: "hd0-file" }, { ...opts[2]!, file: "hd2-file" });
  assert.equal(
    [await look("hd0"), await look("hd2")],
    [
      [0xa0, 0, 0],
      [3, 0, 0xa2],
    ],
  );
  await core.close();
});

test("several nodes: one that fails takes the others back", async () => {
  const { core, add, no, look } = await setUp();
  await add(hd(0, { backing: null }));
  await add(hd(2, { backing: null }));
  const before = await graph(core);
  await no(
    [hd(0, { backing: "hd2", "read-only": true }), hd(2, { backing: null, "l2-cache-entry-size": 3 })],
    "L2 cache entry size must be a power of two between 512 and the cluster size (65536)",
  );
  assert.is(await graph(core), before);
  assert.equal(await look("hd0"), [0xa0, 0, 0]);
  await runAsync(write(core.node("hd0"), new Uint8Array(512).fill(3), 0));
  await core.close();
});

test("raw windows, throttle groups, filters that cannot", async () => {
  const { core, add, reopen, no, look } = await setUp();
  await add({ driver: "null-co", "node-name": "n", size: 4 * MiB, "read-zeroes": true });
  const window = {
    driver: "raw",
    "node-name": "r",
    file: { driver: "qcow2", "node-name": "q", file: { driver: "file", filename: "hd2" } },
  };
  await add(window);
  await reopen({ ...window, offset: 2 * MiB });
  assert.equal(await look("r"), [0xa2]);
  await reopen(window);
  assert.equal(await look("r"), [0, 0, 0xa2]);
  await no({ driver: "null-co", "node-name": "n", size: 1024, "read-zeroes": true }, "Cannot change the option 'size'");
  await no({ driver: "null-co", "node-name": "n", "read-zeroes": true }, "Option 'size' cannot be reset to its default value");
  for (const id of ["g0", "g1"]) await core.execute("object-add", { "qom-type": "throttle-group", id });
  const filter = { driver: "throttle", "node-name": "t", "throttle-group": "g0", file: "n" };
  await add(filter);
  await no({ ...filter, "throttle-group": "x" }, "Throttle group 'x' does not exist");
  await reopen({ ...filter, "throttle-group": "g1" });
  await core.execute("object-del", { id: "g0" });
  assert.match((await refused(core.execute("object-del", { id: "g1" }))).message, /in use/);
  await add({ driver: "quorum", "node-name": "qu", "vote-threshold": 1, children: ["t"] });
  await no(
    { driver: "quorum", "node-name": "qu", "vote-threshold": 1, children: ["t"] },
    "Block format 'quorum' used by node 'qu' does not support reopening files",
  );
  await core.close();
});

test("a raw window that a user chose is full, not to be resized, when a format wants to grow in it", async () => {
  const { core, add, reopen } = await setUp();
  const window = { driver: "raw", file: { driver: "file", filename: "hd0" } };
  const image = { driver: "qcow2", "node-name": "q", file: { ...window, size: 1376256 } };
  await add(image);
  const node = core.node("q");
  const error = await refused(runAsync(write(node, new Uint8Array(MiB), 2 * MiB)));
  assert.is(error.errno, "ENOSPC");
  await reopen({ ...image, file: window });
  await runAsync(write(node, new Uint8Array(MiB).fill(8), 2 * MiB));
  await core.close();
});

test("filters are layers like others in what is told of a node", async () => {
  const { core, add } = await setUp();
  await add({ driver: "null-co", "node-name": "n", size: MiB, "read-zeroes": true });
  await core.execute("object-add", { "qom-type": "throttle-group", id: "g" });
  await add({ driver: "throttle", "node-name": "t", "throttle-group": "g", file: "n" });
  const { image, backing_file_depth } = (await info(core, "t")) as { image: JsonObject; backing_file_depth: number };
  assert.is(backing_file_depth, 1);
  assert.is((image["backing-image"] as JsonObject)["format"], "null-co");
  assert.is(image["dirty-flag"], undefined);
  await core.close();
});

test("what a file was opened with: for show, or for good", async () => {
  const { add, reopen, no, core } = await setUp();
  const on = (more: JsonObject): JsonObject => ({
    driver: "qcow2",
    "node-name": "q",
    file: { driver: "file", filename: "hd0", ...more },
  });
  await add(on({ locking: "off", "x-check-cache-dropped": true }));
  await reopen(on({ locking: "off", "x-check-cache-dropped": false }));
  await reopen(on({ locking: "off" }));
  await no(on({ locking: "on" }), "Cannot change the option 'locking'");
  await no(on({}), "Option 'locking' cannot be reset to its default value");
  await core.close();
});

test("the options of a layer that is gone do not fit the one below it", async () => {
  const { core, add, reopen, no } = await setUp();
  const chain = hd(0, { backing: hd(1, { backing: hd(2, { backing: null }) }) });
  await add(chain);
  await core.execute("block-stream", { device: "hd0", "base-node": "hd2", "job-id": "j" });
  while (core.jobs.all().length > 0) await new Promise((resolve) => setTimeout(resolve, 2));
  await no(chain, "Cannot change the option 'backing.driver'");
  await reopen(hd(0, { backing: hd(2, { backing: null }) }));
  await core.close();
});

test("references are not described; implicit access of a job", async () => {
  const { core, add, reopen, no } = await setUp();
  await add(hd(0));
  await add(hd(1, { backing: "hd0" }));
  await no(hd(1, { backing: hd(0) }), "Cannot change the option 'backing.driver'");
  await core.execute("block-stream", { device: "hd1", "job-id": "j", speed: 1, "auto-finalize": false });
  await no(hd(1, { backing: "hd0", "read-only": true }), "Read-only block node 'hd1' cannot support read-write users");
  await core.execute("job-cancel", { id: "j" });
  while (core.jobs.all().length > 0) await new Promise((resolve) => setTimeout(resolve, 2));
  await reopen(hd(1, { backing: null }));
  await core.close();
});

test("x-blockdev-change: children of a quorum come and go", async () => {
  const { core, add } = await setUp();
  for (const name of ["n1", "n2", "n3"]) await add({ driver: "null-co", "node-name": name, size: MiB, "read-zeroes": true });
  await add({ driver: "quorum", "node-name": "q", "vote-threshold": 1, children: ["n1", "n2"] });
  const change = (args: JsonObject): Promise<unknown> => core.execute("x-blockdev-change", { parent: "q", ...args });
  await change({ node: "n3" });
  assert.is((await refused(change({ node: "n3" }))).message, "The node n3 already has a parent");
  await change({ child: "children.0" });
  await change({ child: "children.2" });
  assert.is(
    (await refused(change({ child: "children.1" }))).message,
    "The number of children cannot be lower than the vote threshold 1",
  );
  assert.is((await refused(change({ child: "children.0" }))).message, "Node 'q' does not have child 'children.0'");
  assert.is((await refused(change({}))).message, "Either child or node must be specified");
  assert.is((await refused(change({ child: "a", node: "b" }))).message, "The parameters child and node are in conflict");
  await change({ node: "n1" });
  assert.is(
    core
      .node("q")
      .children.map(({ name }) => name)
      .join(),
    "children.1,children.3",
  );
  await core.close();
});

test("permissions: one writer of a file; blkdebug takes and holds back what it is told to", async () => {
  const { core, add } = await setUp();
  await add({ driver: "file", "node-name": "f", filename: "hd0" });
  await add({ driver: "qcow2", "node-name": "q", file: "f" });
  await add({ driver: "raw", "node-name": "r", file: "f" });
  const both = (what: string, needed: string, unshared: string, child = "file"): string =>
    `Permission conflict on node 'f': permissions '${what}' are both required by node '${needed}' (uses node 'f' as 'file' child) and unshared by node '${unshared}' (uses node 'f' as '${child}' child).`;
  assert.is((await refused(add({ driver: "qcow2", "node-name": "q2", file: "f" }))).message, both("write, resize", "q", "q2"));
  assert.is((await refused(add({ driver: "raw", "node-name": "r2", size: 512, file: "f" }))).message, both("resize", "q", "r2"));
  const held = { driver: "blkdebug", "node-name": "d", image: "f", "unshare-child-perms": ["write"] };
  assert.is((await refused(add(held))).message, both("write", "q", "d", "image"));
  await core.execute("blockdev-del", { "node-name": "q" });
  await add(held);
  assert.match(
    (await refused(add({ driver: "qcow2", "node-name": "q", file: "f" }))).message,
    /permissions 'write' are both required by node 'q' .* and unshared by node 'd'/,
  );
  await core.execute("blockdev-del", { "node-name": "d" });
  await add({ driver: "blkdebug", "node-name": "d", image: "f", "take-child-perms": ["write", "resize"] });
  assert.match(
    (await refused(add({ driver: "qcow2", "node-name": "q", file: "f" }))).message,
    /'write, resize' are both required by node 'd' .* and unshared by node 'q'/,
  );
  const { nodes, edges } = (await core.execute("x-debug-query-block-graph")) as { nodes: JsonObject[]; edges: JsonObject[] };
  assert.equal(
    nodes.map(({ name }) => name),
    ["d", "r", "f"],
  );
  assert.equal(edges[0]!["perm"], ["resize", "write"]);
  await core.close();
});

test("a backup keeps others from writing to its source below it", async () => {
  const { core, add } = await setUp();
  await add({ driver: "null-co", "node-name": "target", size: MiB, "read-zeroes": true });
  await add({
    driver: "blkdebug",
    "node-name": "source",
    image: { driver: "null-co", "node-name": "base", size: MiB, "read-zeroes": true },
  });
  await add({ driver: "blkdebug", "node-name": "other", image: "base", "take-child-perms": ["write"] });
  const backup = { device: "source", "job-id": "b", sync: "full", target: "target" };
  assert.is(
    (await refused(core.execute("blockdev-backup", backup))).message,
    "Permission conflict on node 'base': permissions 'write' are both required by node 'other' (uses node 'base' as 'image' child) and unshared by node 'source' (uses node 'base' as 'image' child).",
  );
  assert.is(core.node("source").parents.length, 0);
  await core.execute("blockdev-del", { "node-name": "other" });
  await core.execute("blockdev-backup", backup);
  while (core.jobs.all().length > 0) await new Promise((resolve) => setTimeout(resolve, 2));
  await core.close();
});

test("block-set-write-threshold: told once, at the node that is watched", async () => {
  const { core, add, events } = await setUp();
  await add(hd(0));
  await core.execute("block-set-write-threshold", { "node-name": "hd0", "write-threshold": 2 * MiB });
  assert.is((await info(core, "hd0"))["write_threshold"], 2 * MiB);
  const node = core.node("hd0");
  await runAsync(write(node, new Uint8Array(512), 2 * MiB - 512));
  assert.is(events.length, 0);
  await runAsync(write(node, new Uint8Array(1024), 2 * MiB - 512));
  await runAsync(write(node, new Uint8Array(1024), 2 * MiB - 512));
  assert.equal(
    events.map(({ event, data }) => [event, data]),
    [["BLOCK_WRITE_THRESHOLD", { "node-name": "hd0", "amount-exceeded": 512, "write-threshold": 2 * MiB }]],
  );
  assert.is((await info(core, "hd0"))["write_threshold"], 0);
  await core.close();
});

test("x-debug-block-dirty-bitmap-sha256 hashes whole words", async () => {
  const { core, add } = await setUp();
  await add(hd(0));
  await core.execute("block-dirty-bitmap-add", { node: "hd0", name: "b" });
  // 3 MiB in clusters of 64 KiB are 48 bits: one word of zeros.
  assert.equal(await core.execute("x-debug-block-dirty-bitmap-sha256", { node: "hd0", name: "b" }), {
    sha256: "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc",
  });
  await core.close();
});

test("x-blockdev-amend: a job; what cannot be amended", async () => {
  const { core, add } = await setUp();
  await add(hd(0));
  const amend = (id: string, options: JsonObject): Promise<unknown> =>
    core.execute("x-blockdev-amend", { "job-id": id, "node-name": "hd0", options });
  await amend("a", { driver: "qcow2" });
  await amend("b", { driver: "qcow2", encrypt: { format: "luks", state: "inactive", keyslot: 1 } }).catch(() => {});
  const over = (): boolean => core.jobs.all().every(({ status }) => status === "concluded");
  while (!over()) await new Promise((resolve) => setTimeout(resolve, 2));
  const jobs = (await core.execute("query-jobs")) as JsonObject[];
  assert.is(jobs.find(({ id }) => id === "a")!["error"], undefined);
  assert.match(
    (await refused(amend("c", { driver: "luks", state: "active" }))).message,
    /doesn't support changing the block driver/,
  );
  await core.close();
});

test("descriptors cannot be passed, and QEMU's words say so", async () => {
  const { core } = await setUp();
  assert.is((await refused(core.execute("add-fd"))).message, "No file descriptor supplied via SCM_RIGHTS");
  assert.is((await refused(core.execute("getfd", { fdname: "x" }))).message, "No file descriptor supplied via SCM_RIGHTS");
  assert.is((await refused(core.execute("closefd", { fdname: "x" }))).message, "File descriptor named 'x' not found");
  assert.is(
    (await refused(core.execute("remove-fd", { "fdset-id": 1, fd: 2 }))).message,
    "File descriptor named 'fdset-id:1, fd:2' not found",
  );
  assert.equal(await core.execute("query-fdsets"), []);
  await core.close();
});

test.run();
