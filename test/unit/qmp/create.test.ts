/** blockdev-create: nodes by name or by options, extents, and values that are taken as they are. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { allFormats } from "../../../src/platform/all-formats.js";
import type { JsonObject } from "../../../src/qapi/json.js";
import { BlockCore } from "../../../src/qmp/block-core.js";
import { makeWorld, type World } from "../../support/world.js";

const MiB = 1 << 20;
const file = (filename: string): JsonObject => ({ driver: "file", filename });

async function makeCore(): Promise<{ world: World; core: BlockCore }> {
  const world = makeWorld({ mode: "async", drivers: allFormats, seed: 1 });
  const core = new BlockCore({ environment: world.environment, profile: "qemu-7.2", onQuit: () => {} });
  for (const name of ["a", "b"]) {
    await create(core, { driver: "file", filename: name, size: 0 });
    await core.execute("blockdev-add", { ...file(name), "node-name": name });
  }
  return { world, core };
}

/** Runs the job to its end; its error, "" when there is none. */
async function create(core: BlockCore, options: JsonObject): Promise<string> {
  await core.execute("blockdev-create", { "job-id": "j", options });
  for (let i = 0; ; i++) {
    const [job] = (await core.execute("query-jobs")) as JsonObject[];
    if (job!["status"] === "concluded") {
      await core.execute("job-dismiss", { id: "j" });
      return String(job!["error"] ?? "");
    }
    assert.ok(i < 500, "the job does not end");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

test("an image goes into a node by name, or one that is opened for the time of the job", async () => {
  const { world, core } = await makeCore();
  assert.is(await create(core, { driver: "vdi", file: "a", size: MiB }), "");
  await core.execute("blockdev-del", { "node-name": "a" });
  assert.is(await create(core, { driver: "qed", file: file("a"), size: MiB, "cluster-size": 4096 }), "");
  const node = await world.open("qed", "a", {});
  assert.is(node.size, MiB);
  await world.close(node);
  assert.is(
    await create(core, { driver: "vdi", file: "nobody", size: MiB }),
    "Cannot find device='nobody' nor node-name='nobody'",
  );
});

test("a VMDK takes its extents from the list, all of them", async () => {
  const { world, core } = await makeCore();
  const flat = { driver: "vmdk", file: "a", size: MiB, subformat: "monolithicFlat" };
  assert.is(await create(core, flat), "Extent [0] not specified");
  assert.is(await create(core, { ...flat, extents: ["b", "b"] }), "List of extents contains unused extents");
  assert.is(
    await create(core, { driver: "vmdk", file: "a", size: MiB, extents: ["b"] }),
    "List of extents contains unused extents",
  );
  assert.is(await create(core, { ...flat, extents: ["b"] }), "");
  assert.is(world.bytes("b").length, MiB);
  assert.match(new TextDecoder().decode(world.bytes("a")), 'RW 2048 FLAT "b" 0');
});

test("what qemu-img would round is refused", async () => {
  const { core } = await makeCore();
  const big = 2n ** 64n - 512n;
  for (const [options, message] of [
    [{ driver: "parallels", size: 1234 }, "Image size must be a multiple of 512 bytes"],
    [{ driver: "parallels", size: big }, "Image size is too large for this cluster size"],
    [{ driver: "parallels", size: MiB, "cluster-size": 1234 }, "Cluster size must be a multiple of 512 bytes"],
    [{ driver: "vhdx", size: MiB, "block-size": 3 * MiB }, "Block size must be a power of two"],
    [{ driver: "vhdx", size: MiB, "block-size": 512 * MiB }, "Block size must not exceed 268435456"],
    [{ driver: "vhdx", size: MiB, "log-size": 128 }, "Log size must be a multiple of 1 MB"],
    [{ driver: "vdi", size: big }, "Unsupported VDI image size (size is 0xfffffffffffffe00, max supported is 0x1fffff8000000)"],
  ] as const) {
    assert.is(await create(core, { ...options, file: "a" } as unknown as JsonObject), message);
  }
});

test.run();
