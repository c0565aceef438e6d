/** What jobs and exports do with nodes and let others do: edge by edge as QEMU 7.2 has it (`x-debug-query-block-graph`). */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { MiB } from "../../../src/base/int.js";
import { BlockCore, create, memoryStorage, type MemoryStorage } from "../../../src/edge.js";
import { refusal } from "../../support/refused.js";

const LETTERS: Readonly<Record<string, string>> = { "consistent-read": "r", write: "w", "write-unchanged": "u", resize: "s" };
const letters = (names: readonly string[]): string =>
  Object.keys(LETTERS)
    .filter((name) => names.includes(name))
    .map((name) => LETTERS[name])
    .join("") || "-";

/** a ← b ← c, and t. */
async function setUp(): Promise<BlockCore> {
  const files: Record<string, MemoryStorage> = {};
  for (const [name, backing] of Object.entries({ a: null, b: "a", c: "b", t: null })) {
    files[name] = memoryStorage(0, { name });
    await create(files[name]!, { format: "qcow2", size: MiB, ...(backing === null ? {} : { backing, backingFormat: "qcow2" }) });
  }
  const core = new BlockCore({ files });
  for (const [name, backing] of Object.entries({ a: null, b: "a", c: "b", t: null })) {
    await core.execute("blockdev-add", {
      driver: "qcow2",
      "node-name": name,
      file: { driver: "file", filename: name },
      ...(backing === null ? {} : { backing }),
    } as never);
  }
  return core;
}

/** "parent -name-> child needed/shared" of all edges but those to files. */
async function graph(core: BlockCore): Promise<string[]> {
  const { nodes, edges } = await core.execute("x-debug-query-block-graph");
  const names = new Map(nodes.map(({ id, name, type }) => [id, name === "" ? "?" : type === "block-job" ? `job ${name}` : name]));
  return edges
    .filter(({ child }) => !names.get(child)!.startsWith("#"))
    .map(
      (edge) =>
        `${names.get(edge.parent)} -${edge.name}-> ${names.get(edge.child)} ${letters(edge.perm)}/${letters(edge["shared-perm"])}`,
    )
    .sort();
}

const common = { "job-id": "j", device: "c", "filter-node-name": "F", speed: 1 } as const;
const start: Readonly<Record<string, (core: BlockCore) => Promise<{ cancel(options: { force: boolean }): Promise<unknown> }>>> = {
  stream: (core) => core.start("block-stream", common),
  "stream above a": (core) => core.start("block-stream", { ...common, "base-node": "a" }),
  commit: (core) => core.start("block-commit", { ...common, "top-node": "b", "base-node": "a" }),
  "active commit": (core) => core.start("block-commit", { ...common, "base-node": "a" }),
  mirror: (core) => core.start("blockdev-mirror", { ...common, target: "t", sync: "full" }),
  backup: (core) => core.start("blockdev-backup", { ...common, target: "t", sync: "full" }),
};

/** As QEMU 7.2 tells. */
const EXPECTED: Readonly<Record<string, readonly string[]>> = {
  stream: [
    "? -root-> F r/rwu",
    "F -file-> c ru/rwu",
    "b -backing-> a r/ru",
    "c -backing-> b r/rwus",
    "job j -active node-> c -/rwu",
    "job j -intermediate node-> a -/ru",
    "job j -intermediate node-> b -/ru",
    "job j -main node-> F -/rwus",
  ],
  "stream above a": [
    "? -root-> F r/rwu",
    "F -file-> c ru/rwu",
    "b -backing-> a r/ru",
    "c -backing-> b r/rwus",
    "job j -active node-> c -/rwu",
    "job j -intermediate node-> b -/ru",
    "job j -main node-> F -/rwus",
  ],
  commit: [
    "? -root-> a rw/ru",
    "? -root-> b -/rwus",
    "F -backing-> b -/rwus",
    "b -backing-> a -/rwus",
    "c -backing-> F -/rwus",
    "job j -base-> a -/rwus",
    "job j -intermediate node-> b -/wu",
    "job j -main node-> c -/rwus",
  ],
  "active commit": [
    "? -root-> a w/rwu",
    "F -backing-> c -/rwu",
    "b -backing-> a -/rwus",
    "c -backing-> b -/rwus",
    "job j -intermediate node-> b -/wu",
    "job j -main node-> F r/rwu",
    "job j -source-> c -/rwu",
    "job j -target-> a -/rwus",
  ],
  mirror: [
    "? -root-> t w/u",
    "F -backing-> c r/rwu",
    "b -backing-> a r/rwus",
    "c -backing-> b r/rwus",
    "job j -main node-> F r/rwu",
    "job j -source-> c -/rwu",
    "job j -target-> t -/rwus",
  ],
  backup: [
    "F -file-> c -/ru",
    "F -target-> t w/rwu",
    "b -backing-> a -/ru",
    "c -backing-> b -/ru",
    "job j -main node-> F -/rwus",
    "job j -target-> t -/rwus",
  ],
};

for (const [kind, expected] of Object.entries(EXPECTED)) {
  test(`the permissions of a ${kind}`, async () => {
    const core = await setUp();
    const before = await graph(core);
    const job = await start[kind]!(core);
    assert.equal(await graph(core), expected);
    await job.cancel({ force: true });
    assert.equal(await graph(core), before, "they go with the job");
    await core.close();
  });
}

test("a job that does not bear what others do is there for a moment", async () => {
  const core = await setUp();
  // A layer that somebody may write to.
  await core.execute("blockdev-add", {
    driver: "blkdebug",
    "node-name": "d",
    image: "a",
    "take-child-perms": ["write"],
  } as never);
  const statuses: string[] = [];
  core.on("JOB_STATUS_CHANGE", ({ data }) => void statuses.push(data.status));
  assert.is(
    await refusal(core.start("block-stream", { "job-id": "j", device: "c" })),
    "Permission conflict on node 'a': permissions 'write' are both required by node 'd' (uses node 'a' as 'image' child) and " +
      "unshared by stream job 'j' (uses node 'a' as 'intermediate node' child).",
  );
  assert.equal(statuses, ["created", "null"]);
  assert.equal(await core.execute("query-jobs"), []);
  await core.close();
});

test("a mirror whose target may not take the place of its source fails when it is completed", async () => {
  const core = await setUp();
  const add = (args: object): Promise<unknown> => core.execute("blockdev-add", { driver: "blkdebug", ...args } as never);
  await add({ "node-name": "dt", image: "t", "unshare-child-perms": ["consistent-read"] });
  const job = await core.start("blockdev-mirror", { "job-id": "j", device: "c", target: "t", sync: "full" });
  await job.ready;
  await add({ "node-name": "dc", image: "c", "take-child-perms": ["consistent-read"] });
  assert.is(await refusal(job.complete()), "Operation not permitted");
  assert.ok((await graph(core)).some((edge) => edge.startsWith("dc -image-> c")));
  await core.close();
});

test.run();
