/** BlockCore and its monitor, in memory. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodeText } from "../../../src/base/bytes.js";
import { createFile } from "../../../src/block/create.js";
import { truncate } from "../../../src/block/io.js";
import { runAsync } from "../../../src/block/op.js";
import { qcow2 } from "../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../src/formats/raw/raw.js";
import type { Duplex } from "../../../src/nbd/duplex.js";
import type { JsonObject } from "../../../src/qapi/json.js";
import { BlockCore, type QmpEvent } from "../../../src/qmp/block-core.js";
import { addDrive } from "../../../src/qmp/drive.js";
import type { Profile } from "../../../src/qmp/command.js";
import { serveMonitor } from "../../../src/qmp/server.js";
import { makeWorld } from "../../support/world.js";
import { refused } from "../../support/refused.js";

const file = (filename: string): JsonObject => ({ driver: "file", filename });

async function makeCore(profile: Profile = "qemu-7.2"): Promise<{ core: BlockCore; events: QmpEvent[] }> {
  const world = makeWorld({ mode: "async", drivers: [raw, qcow2], seed: 1 });
  for (const name of ["a", "b"])
    await world.create("qcow2", name, 1 << 20, name === "b" ? { backing_file: "a", backing_fmt: "qcow2" } : {});
  const node = await world.run(createFile(world.environment, "r"));
  await world.run(truncate(node, 1 << 20, { preallocation: "off" }));
  await world.run(node.unref());
  const core = new BlockCore({ environment: world.environment, profile, onQuit: () => core.emit("QUIT") });
  const events: QmpEvent[] = [];
  core.on((event) => void events.push(event));
  return { core, events };
}

async function until(what: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !what(); i++) await new Promise((resolve) => setTimeout(resolve, 2));
  assert.ok(what(), "it did not happen in time");
}

test("the target of a mirror that existed comes with its whole chain in the end", async () => {
  const world = makeWorld({ mode: "async", drivers: [raw, qcow2], seed: 1 });
  await world.create("qcow2", "a", 1 << 20);
  for (const [name, below] of [
    ["b", "a"],
    ["c", "b"],
    ["target", "b"],
  ] as const)
    await world.create("qcow2", name, 1 << 20, { backing_file: below, backing_fmt: "qcow2" });
  const core = new BlockCore({ environment: world.environment });
  let over = false;
  core.on(({ event }) => {
    if (event === "BLOCK_JOB_READY") void core.execute("block-job-complete", { device: "j" });
    if (event === "BLOCK_JOB_COMPLETED") over = true;
  });
  await runAsync(addDrive(core, { if: "none", id: "d", file: "c" }));
  await core.execute("drive-mirror", {
    device: "d",
    target: "target",
    mode: "existing",
    format: "qcow2",
    sync: "top",
    "job-id": "j",
    "node-name": "new",
  });
  await until(() => over);
  const target = core.node("new");
  assert.is(target.backing?.filename, "b");
  assert.is(target.backing?.backing?.filename, "a");
  await core.close();
});

test("commands that queries of QEMU cannot be compared with", async () => {
  const { core, events } = await makeCore();
  const names = ((await core.execute("query-commands")) as JsonObject[]).map(({ name }) => name);
  assert.ok(names.includes("query-qmp-schema") && names.includes("blockdev-add"));
  assert.not.ok(names.includes("block_stream"));
  assert.is(((await core.execute("query-version")) as { qemu: JsonObject })["qemu"]["major"], 7);
  const schema = (await core.execute("query-qmp-schema")) as JsonObject[];
  for (const name of names)
    assert.ok(
      schema.some((info) => info["meta-type"] === "command" && info["name"] === name),
      String(name),
    );
  await core.execute("quit");
  assert.is(events.at(-1)!.event, "QUIT");
  await core.close();
});

test("exports without sockets: nbd-server-start says so; block-export-add, nbd-server-remove and BLOCK_EXPORT_DELETED", async () => {
  const { core } = await makeCore();
  const error = await refused(core.execute("nbd-server-start", { addr: { type: "unix", data: { path: "x" } } }));
  assert.match(error.message, /no listening sockets/);
  await core.close();

  const world = makeWorld({ mode: "async", drivers: [raw, qcow2], seed: 2 });
  await world.create("qcow2", "a", 1 << 20, {});
  const listening = new BlockCore({ environment: world.environment, listen: async () => async () => {} });
  const events: string[] = [];
  listening.on(({ event }) => void events.push(event));
  await listening.execute("blockdev-add", { driver: "qcow2", "node-name": "n", file: file("a") });
  await listening.execute("nbd-server-start", { addr: { type: "inet", data: { host: "localhost", port: "10809" } } });
  await listening.execute("block-export-add", { type: "nbd", id: "e", "node-name": "n", name: "x", writable: true });
  assert.equal(await listening.execute("query-block-exports"), [
    { id: "e", type: "nbd", "node-name": "n", "shutting-down": false },
  ]);
  assert.match((await refused(listening.execute("blockdev-del", { "node-name": "n" }))).message, /in use/);
  await listening.execute("block-export-del", { id: "e" });
  assert.equal(events, ["BLOCK_EXPORT_DELETED"]);
  await listening.execute("nbd-server-add", { device: "n" });
  await listening.execute("nbd-server-remove", { name: "n" });
  await listening.execute("nbd-server-stop");
  await listening.execute("blockdev-del", { "node-name": "n" });
  assert.equal(await listening.execute("query-named-block-nodes"), []);
  await listening.close();
});

test("BLOCK_IMAGE_CORRUPTED is passed on", async () => {
  const { core, events } = await makeCore();
  await core.execute("blockdev-add", { driver: "qcow2", "node-name": "n", file: file("a") });
  core.environment.imageCorrupted!({ node: core.node("n"), message: "bad", offset: 512, fatal: true });
  assert.equal(events.at(-1)!.data, { device: "", "node-name": "n", msg: "bad", offset: 512, fatal: true });
  await core.close();
});

test("the dialect of 2.2: devices, error classes, block_stream", async () => {
  const { core, events } = await makeCore("qemu-2.2");
  await core.execute("blockdev-add", { options: { driver: "qcow2", id: "disk", file: file("b") } });
  const [info] = (await core.execute("query-block")) as JsonObject[];
  assert.is(info!["device"], "disk");
  assert.is((info!["inserted"] as JsonObject)["backing_file_depth"], 1);
  for (const [command, args, cls] of [
    ["block_resize", { device: "nope", size: 512 }, "DeviceNotFound"],
    ["block-stream", { device: "nope" }, "DeviceNotFound"],
    ["block-job-cancel", { device: "disk" }, "DeviceNotActive"],
    ["block-stream", { device: "disk", speed: -1 }, "InvalidParameter"],
    ["query-jobs", {}, "CommandNotFound"],
  ] as [string, JsonObject, string][])
    assert.is((await refused(core.execute(command, args))).qmpClass, cls, command);
  await core.execute("block_stream", { device: "disk" });
  assert.is((await refused(core.execute("block-commit", { device: "disk" }))).qmpClass, "DeviceInUse");
  await until(() => events.some(({ event }) => event === "BLOCK_JOB_COMPLETED"));
  assert.ok(events.every(({ event }) => event !== "JOB_STATUS_CHANGE"));
  assert.equal(await core.execute("query-block-jobs"), []);
  await core.close();
});

test("2.2's blockdev-add keeps error policies", async () => {
  const { core } = await makeCore("qemu-2.2");
  const add = (more: JsonObject): Promise<unknown> =>
    core.execute("blockdev-add", { options: { driver: "qcow2", id: "disk", file: file("b"), ...more } });
  assert.is((await refused(add({ rerror: "enospc" }))).message, "'enospc' invalid read error action");
  assert.is((await refused(add({ werror: "auto" }))).message, "Parameter 'werror' does not accept value 'auto'");
  assert.equal(await core.execute("query-block"), []);
  await add({ rerror: "stop", aio: "native" });
  assert.equal(core.devices.get("disk")!.guest.policies, { read: "stop", write: "enospc" });
  await core.close();
});

test("objects: object-add gives secrets, object-del takes them", async () => {
  const { core } = await makeCore();
  await core.execute("object-add", { "qom-type": "secret", id: "s", format: "base64", data: "aGk=" });
  assert.equal([...(await runAsync(core.environment.secrets("s", "x")))!], [104, 105]);
  await core.execute("object-del", { id: "s" });
  assert.is(core.objects.secret("s"), null);
  await core.close();
});

test("the overlay of a file that ends within a sector has all of that sector", async () => {
  const { environment } = (await makeCore()).core;
  let said = "";
  const core = new BlockCore({ environment, console: (text) => void (said += text) });
  const odd = await runAsync(createFile(core.environment, "odd"));
  await runAsync(truncate(odd, 1000, { preallocation: "off" }));
  await runAsync(odd.unref());
  await core.execute("blockdev-add", { ...file("odd"), "node-name": "odd" });
  await core.execute("blockdev-snapshot-sync", { "node-name": "odd", "snapshot-file": "over", "snapshot-node-name": "over" });
  assert.match(said, /^Formatting 'over', fmt=qcow2 .* size=1024 /);
  await core.close();
});

test("a failing transaction leaves no node and no job behind", async () => {
  const { core } = await makeCore();
  await core.execute("blockdev-add", { driver: "raw", "node-name": "r", file: file("r") });
  const before = JSON.stringify(await core.execute("query-named-block-nodes"));
  const actions = [
    { type: "blockdev-snapshot-sync", data: { "node-name": "r", "snapshot-file": "s", "snapshot-node-name": "s" } },
    { type: "drive-backup", data: { device: "s", target: "t", sync: "full", "job-id": "j" } },
    { type: "abort", data: {} },
  ];
  assert.is((await refused(core.execute("transaction", { actions }))).message, "Transaction aborted using Abort action");
  await until(() => core.jobs.all().length === 0);
  assert.is(JSON.stringify(await core.execute("query-named-block-nodes")), before);
  await core.close();
});

test("a monitor: greeting, negotiation, ids, broken input, events", async () => {
  const { core } = await makeCore();
  const input: Uint8Array[] = [];
  let wake = (): void => {};
  let open = true;
  let text = "";
  const duplex: Duplex = {
    incoming: (async function* () {
      // oxlint-disable-next-line no-unmodified-loop-condition
      while (open) {
        if (input.length > 0) yield input.shift()!;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    })(),
    async write(parts) {
      for (const part of parts) text += new TextDecoder().decode(part);
    },
    close() {
      open = false;
      wake();
    },
  };
  const done = serveMonitor(core, duplex);
  const send = async (line: string): Promise<string> => {
    const at = text.length;
    input.push(encodeText(line));
    wake();
    await until(() => text.length > at);
    return text.slice(at);
  };
  await until(() => text !== "");
  assert.match(text, /^\{"QMP": \{"version": /);
  assert.match(await send('{"execute":"query-jobs"}\n'), /Expecting capabilities negotiation/);
  core.emit("TEST", {});
  assert.is(await send('{"execute":"qmp_capabilities","id":1}'), '{"return": {}, "id": 1}\r\n');
  assert.match(await send('{"execute":"qmp_capabilities"}'), /already complete/);
  assert.match(await send("}"), /"class": "GenericError"/);
  assert.match(await send("[".repeat(2000)), /"class": "GenericError"/);
  const before = text.length;
  core.emit("TEST", { a: 1 });
  await until(() => text.length > before);
  assert.match(
    text.slice(before),
    /^\{"timestamp": \{"seconds": \d+, "microseconds": \d+\}, "event": "TEST", "data": \{"a": 1\}\}\r\n$/,
  );
  await core.close();
  duplex.close();
  await done;
});

test.run();
