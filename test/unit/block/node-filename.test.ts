/** Names of nodes: what QEMU 7.2 calls the same node. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { allFilters } from "../../../src/platform/all-filters.js";
import { allFormats } from "../../../src/platform/all-formats.js";
import type { BlockdevOptions, OpenFlags } from "../../../src/block/context.js";
import { baseDirectory } from "../../../src/block/node-filename.js";
import { openNode } from "../../../src/block/open.js";
import { createImage } from "../../../src/block/create.js";
import { nullDrivers } from "../../../src/filters/null.js";
import { memoryStorage } from "../../../src/storage/memory.js";
import { makeWorld, type World } from "../../support/world.js";

/** In "d/": a and b are qcow2 overlays of "base", r is raw. */
async function world(): Promise<World> {
  const on = makeWorld({ mode: "sync", drivers: [...allFormats, ...allFilters, ...nullDrivers] });
  on.files.set("d/r", memoryStorage(1 << 20, { name: "d/r" }));
  const driver = on.environment.drivers.get("qcow2")!;
  const make = (filename: string, options: Record<string, unknown>) =>
    on.run(createImage(on.environment, { driver, filename, size: 1 << 20, options }));
  await make("d/base", {});
  for (const name of ["d/a", "d/b"]) await make(name, { backing_file: "base", backing_fmt: "qcow2" });
  return on;
}

const quorumOf = (...names: string[]): BlockdevOptions => ({
  driver: "quorum",
  "vote-threshold": 1,
  children: names.map((filename) => ({ driver: "file", filename })),
});
const QUORUM =
  '{"children": [{"driver": "file", "filename": "d/a"}, {"driver": "file", "filename": "d/b"}], "driver": "quorum", "vote-threshold": 1}';
const file = (filename: string): BlockdevOptions => ({ driver: "file", filename });
const blkdebug = (more: BlockdevOptions, image = "d/a"): BlockdevOptions => ({ driver: "blkdebug", image: file(image), ...more });

interface Case {
  filename?: string;
  options?: BlockdevOptions;
  flags?: Partial<OpenFlags>;
  name: string;
}
const METADATA = { noBacking: true, noIO: true };
const CASES: Case[] = [
  { filename: "d/a", name: "d/a" },
  { options: { driver: "qcow2", file: file("d/a") }, name: "d/a" },
  { options: { driver: "qcow2", "lazy-refcounts": true, discard: "unmap", file: file("d/a") }, name: "d/a" },
  {
    options: { driver: "raw", file: { driver: "raw", file: file("d/r") } },
    name: 'json:{"driver": "raw", "file": {"driver": "raw", "file": {"driver": "file", "filename": "d/r"}}}',
  },
  {
    options: { driver: "raw", offset: "512", file: file("d/r") },
    name: 'json:{"offset": "512", "driver": "raw", "file": {"driver": "file", "filename": "d/r"}}',
  },
  { filename: "blkdebug::d/a", name: "blkdebug::d/a" },
  {
    options: { driver: "qcow2", file: blkdebug({ align: "4k" }) },
    name: 'json:{"driver": "qcow2", "file": {"image": {"driver": "file", "filename": "d/a"}, "driver": "blkdebug", "align": "4k"}}',
  },
  {
    options: { driver: "qcow2", file: blkdebug({ "inject-error": [{ event: "l2_load" }] }) },
    name: 'json:{"driver": "qcow2", "file": {"image": {"driver": "file", "filename": "d/a"}, "driver": "blkdebug", "inject-error.0.event": "l2_load"}}',
  },
  { filename: "blkverify:d/r:d/base", name: "blkverify:d/r:d/base" },
  {
    options: { driver: "raw", file: { driver: "null-co", size: 65536 } },
    name: 'json:{"driver": "raw", "file": {"driver": "null-co", "size": 65536}}',
  },
  { options: { driver: "null-co", "latency-ns": 5 }, name: "null-co://" },
  { options: quorumOf("d/a", "d/b"), name: `json:${QUORUM}` },
  {
    options: { driver: "qcow2", file: quorumOf("d/a", "d/b") },
    flags: METADATA,
    name: `json:{"driver": "qcow2", "file": ${QUORUM}}`,
  },
  {
    options: { driver: "copy-on-read", file: { driver: "qcow2", file: file("d/a") } },
    flags: { write: true },
    name: 'json:{"driver": "copy-on-read", "file": {"driver": "qcow2", "file": {"driver": "file", "filename": "d/a"}}}',
  },
  {
    options: { driver: "qcow2", backing: null, file: file("d/a") },
    name: 'json:{"backing": null, "driver": "qcow2", "file": {"driver": "file", "filename": "d/a"}}',
  },
  // Without the backing file nothing is known to differ.
  { options: { driver: "qcow2", backing: null, file: file("d/a") }, flags: METADATA, name: "d/a" },
  {
    options: { driver: "qcow2", backing: { driver: "raw", file: file("d/r") }, file: file("d/a") },
    name: 'json:{"backing": {"driver": "raw", "file": {"driver": "file", "filename": "d/r"}}, "driver": "qcow2", "file": {"driver": "file", "filename": "d/a"}}',
  },
];

for (const { name, flags = {}, ...spec } of CASES) {
  test(`a node is called ${name}${flags.noIO === true ? " (metadata only)" : ""}`, async () => {
    const on = await world();
    const node = await on.run(openNode(on.environment, { ...spec, flags }));
    assert.is(node.filename, name);
    await on.close(node);
    assert.is(node.filename, name, "still known when it is closed");
    // The name opens the same node again.
    const again = await on.run(openNode(on.environment, { filename: name, flags }));
    assert.is(again.filename, name);
    await on.close(again);
  });
}

test("names in an image are relative to the file at the bottom, through filters; a quorum has no directory", async () => {
  const on = await world();
  const through = await on.run(openNode(on.environment, { options: { driver: "qcow2", file: blkdebug({ align: 512 }) } }));
  assert.is(through.backing?.filename, "d/base");
  assert.is(baseDirectory(through), "d/");
  await on.close(through);
  for (const [options, driver] of [
    [quorumOf("d/a", "d/b"), "quorum"],
    [{ driver: "blkverify", raw: file("d/a"), test: file("d/b") }, "blkverify"],
  ] as const) {
    const top = { driver: "qcow2", file: options };
    try {
      await on.run(openNode(on.environment, { options: top }));
      assert.unreachable("there is no such directory");
    } catch (error) {
      assert.is((error as Error).message, `Cannot generate a base directory for ${driver} nodes`);
    }
  }
});

test.run();
