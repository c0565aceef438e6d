/** What jobs do to the graph: their own nodes, layers with several users, errors that must not be lost. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { equalBytes } from "../../../src/base/bytes.js";
import { BlockCore, create, memoryStorage, open, type MemoryStorage } from "../../../src/edge.js";
import { KiB, MiB } from "../../../src/base/int.js";
import { refusal } from "../../support/refused.js";

const SIZE = 4 * MiB;
const CHAIN = ["a", "b", "c"] as const;

/** a ← b ← c, and whatever else is asked for; `model` is what c reads. */
async function setUp(more: Readonly<Record<string, string | null>> = {}): Promise<{
  core: BlockCore;
  files: Record<string, MemoryStorage>;
  model: Uint8Array;
}> {
  const files: Record<string, MemoryStorage> = {};
  const model = new Uint8Array(SIZE);
  const below: Record<string, string | null> = { a: null, b: "a", c: "b", ...more };
  for (const [name, backing] of Object.entries(below)) {
    files[name] = memoryStorage(0, { name });
    const backed = backing === null ? {} : { backing, backingFormat: "qcow2" };
    await create(files[name]!, { format: "qcow2", size: SIZE, ...backed });
    const references = ({ filename }: { filename: string }): MemoryStorage => files[filename]!;
    const image = await open(files[name]!, { format: "qcow2", writable: true, references });
    const at = CHAIN.indexOf(name as "a");
    if (at >= 0) {
      const bytes = new Uint8Array(700 * KiB).fill(at + 1);
      await image.write(bytes, at * 600 * KiB);
      model.set(bytes, at * 600 * KiB);
    }
    await image.close();
  }
  const core = new BlockCore({ files });
  return { core, files, model };
}

const image = (name: string, backing?: string | null): never =>
  ({
    driver: "qcow2",
    "node-name": name,
    file: { driver: "file", filename: name },
    ...(backing === undefined ? {} : { backing }),
  }) as never;

async function names(core: BlockCore): Promise<(string | undefined)[]> {
  return (await core.execute("query-named-block-nodes")).map((node) => node["node-name"]);
}

async function reads(core: BlockCore, name: string, expected: Uint8Array): Promise<void> {
  const disk = core.disk(name);
  const bytes = await disk.read(0, SIZE);
  await disk.close();
  assert.ok(equalBytes(bytes, expected), `what '${name}' reads`);
}

test("the node of a job has the name that was given, is busy, and goes with the job", async () => {
  const { core } = await setUp({ t: null });
  await core.execute("blockdev-add", image("c"));
  await core.execute("blockdev-add", image("t"));
  const common = { "job-id": "j", device: "c", "filter-node-name": "f", speed: 1 } as const;
  for (const begin of [
    () => core.start("blockdev-mirror", { ...common, target: "t", sync: "full" }),
    () => core.start("blockdev-backup", { ...common, target: "t", sync: "full" }),
    () => core.start("block-stream", common),
    () => core.start("block-commit", common),
  ]) {
    const job = await begin();
    assert.ok((await names(core)).includes("f"));
    assert.match(await refusal(core.execute("block-stream", { "job-id": "k", device: "f" })), "Node 'f' is busy");
    assert.match(
      await refusal(core.execute("blockdev-mirror", { "job-id": "k", device: "f", target: "t", sync: "full" })),
      /is busy|Need a root/,
    );
    await job.cancel({ force: true });
    assert.not.ok((await names(core)).includes("f"));
  }
  const taken = { "job-id": "j", device: "c", target: "t", sync: "full", "filter-node-name": "t" } as const;
  assert.is(await refusal(core.start("blockdev-mirror", taken)), "Duplicate nodes with node-name='t'");
  assert.is(await refusal(core.start("blockdev-backup", taken)), "Could not create node: Duplicate nodes with node-name='t'");
  await core.close();
});

test("a backup whose target has the disk as its backing file", async () => {
  const { core, model } = await setUp();
  await core.execute("blockdev-add", image("c"));
  const job = await core.start("drive-backup", { "job-id": "j", device: "c", target: "copy", format: "qcow2", sync: "none" });
  const disk = core.disk("c");
  await disk.write(new Uint8Array(100_000).fill(9), 1 * MiB);
  await disk.close();
  const copy = (await core.execute("query-named-block-nodes")).find(({ file }) => file === "copy" || file.includes('"copy"'));
  await reads(core, copy!["node-name"]!, model);
  await job.cancel();
  await core.close();
});

test("a commit serves every overlay of what it commits", async () => {
  const { core, files, model } = await setUp({ other: "b" });
  await core.execute("blockdev-add", image("a"));
  await core.execute("blockdev-add", image("b", "a"));
  await core.execute("blockdev-add", image("c", "b"));
  await core.execute("blockdev-add", image("other", "b"));
  const expected = model.slice();
  await (
    await core.start("block-commit", { "job-id": "j", device: "c", "top-node": "b" })
  ).completed;
  await reads(core, "c", expected);
  await core.close();
  for (const name of ["c", "other"]) {
    const references = ({ filename }: { filename: string }): MemoryStorage => files[filename]!;
    const again = await open(files[name]!, { format: "qcow2", references });
    assert.is((await again.info()).backingFilename, "a", name);
    await again.close();
  }
});

test("a stream whose base changes while it runs", async () => {
  const { core, files, model } = await setUp({ d: "c", e: "d" });
  await core.execute("blockdev-add", image("e"));
  // Names of layers that were opened with the others.
  const layers = await core.execute("query-named-block-nodes");
  const layer = (file: string): string => layers.find((node) => node.drv === "qcow2" && node.file === file)!["node-name"]!;
  const [a, b, c, d] = [layer("a"), layer("b"), layer("c"), layer("d")];
  const commit = await core.start("block-commit", {
    "job-id": "commit",
    device: "e",
    "top-node": b,
    "base-node": a,
    "filter-node-name": "filter",
    "auto-finalize": false,
  });
  const stream = await core.start("block-stream", { "job-id": "stream", device: d, "base-node": "filter" });
  await commit.pending;
  await stream.completed;
  // What lies below the filter was not copied: c's 700 KiB and tables are all there is.
  const bytes = files["d"]!.sync.size();
  assert.ok(bytes < 1.5 * MiB, `the image has ${bytes} bytes`);
  await commit.finalize();
  await reads(core, "e", model);
  assert.not.ok((await names(core)).includes(c));
  assert.not.ok((await names(core)).includes(b));
  await core.close();
});

// What the target does not hold of a large cluster would be zeros: its backing file comes when the mirror is done.
for (const mode of ["background", "write-blocking"] as const) {
  for (const sync of ["top", "none"] as const) {
    test(`a mirror (${sync}, ${mode}) into an overlay with larger clusters`, async () => {
      const { files, model } = await setUp();
      files["t"] = memoryStorage(0, { name: "t" });
      const backing = sync === "top" ? "b" : "c";
      await create(files["t"], { format: "qcow2", size: SIZE, cluster_size: 1 * MiB, backing, backingFormat: "qcow2" });
      const core = new BlockCore({ files });
      await core.execute("blockdev-add", image("c"));
      const job = await core.start("drive-mirror", {
        "job-id": "j",
        device: "c",
        target: "t",
        mode: "existing",
        sync,
        "copy-mode": mode,
        granularity: 4096,
      });
      await job.ready;
      const disk = core.disk("c");
      for (const at of [100 * KiB + 512, 2 * MiB - 512, SIZE - 700]) {
        const bytes = new Uint8Array(700).fill(at % 251);
        await disk.write(bytes, at);
        model.set(bytes, at);
      }
      await disk.writeZeroes(1300 * KiB, 5000);
      model.fill(0, 1300 * KiB, 1300 * KiB + 5000);
      await disk.close();
      await job.complete();
      await core.close();
      const after = new BlockCore({ files });
      await after.execute("blockdev-add", image("t"));
      await reads(after, "t", model);
      await after.close();
    });
  }
}

for (const policy of ["ignore", "report"] as const) {
  test(`an error of the target, policy ${policy}`, async () => {
    const { core, model } = await setUp({ t: null });
    await core.execute("blockdev-add", image("c"));
    const debug = {
      driver: "blkdebug",
      image: { driver: "file", filename: "t" },
      "inject-error": [{ event: "write_aio", errno: 5, once: true }],
    } as const;
    await core.execute("blockdev-add", { driver: "qcow2", "node-name": "t", file: debug });
    const errors: string[] = [];
    core.on("BLOCK_JOB_ERROR", ({ data }) => void errors.push(`${data.operation} ${data.action}`));
    const job = await core.start("blockdev-backup", {
      "job-id": "j",
      device: "c",
      target: "t",
      sync: "full",
      "on-target-error": policy,
    });
    if (policy === "report") assert.is(await refusal(job.completed), "Input/output error");
    else {
      await job.completed;
      await reads(core, "t", model);
    }
    assert.equal(errors, [`write ${policy}`]);
    await core.close();
  });
}

test.run();
