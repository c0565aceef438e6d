/** Drives with guest devices: error policies, a machine that stops, media, limits, statistics. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { allFilters } from "../../../src/platform/all-filters.js";
import { ManualClock } from "../../../src/base/clock.js";
import { BlockError } from "../../../src/base/error.js";
import * as io from "../../../src/block/io.js";
import { Backend } from "../../../src/block/backend.js";
import { runAsync } from "../../../src/block/op.js";
import { checkPermissions, Permission } from "../../../src/block/permissions.js";
import { qcow2 } from "../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../src/formats/raw/raw.js";
import { str } from "../../../src/qapi/schema.js";
import type { JsonObject, JsonValue } from "../../../src/qapi/json.js";
import { BlockCore, type QmpEvent } from "../../../src/qmp/block-core.js";
import type { Command, Profile } from "../../../src/qmp/command.js";
import type { HmpCommand } from "../../../src/qmp/hmp/command.js";
import type { Device, FrontEnd } from "../../../src/qmp/device.js";
import { addDrive } from "../../../src/qmp/drive.js";
import { makeWorld } from "../../support/world.js";
import { refused } from "../../support/refused.js";

const DISK: FrontEnd = { id: "disk", qdev: "disk", removable: false, tray: false, ioStatus: true };
const CDROM: FrontEnd = { id: "cd", qdev: "cd", removable: true, tray: true, ioStatus: true };

interface Setup {
  core: BlockCore;
  events: QmpEvent[];
  clock: ManualClock;
  /** Names and data of events since the last call. */
  heard(): unknown[];
  drive(options: JsonObject, frontEnd?: FrontEnd): Promise<Device>;
}

async function setUp(profile: Profile = "qemu-7.2"): Promise<Setup> {
  const world = makeWorld({ mode: "async", drivers: [raw, qcow2, ...allFilters], seed: 1 });
  for (const name of ["a", "b", "c"]) await world.create("qcow2", name, 1 << 20);
  const clock = new ManualClock();
  const core = new BlockCore({ environment: world.environment, profile, clock });
  const events: QmpEvent[] = [];
  core.on((event) => void events.push(event));
  return {
    core,
    events,
    clock,
    heard: () =>
      events
        .splice(0)
        .map(({ event, data }) => (Object.keys(data).length === 0 ? event : [event, JSON.parse(JSON.stringify(data))])),
    async drive(options, frontEnd) {
      const device = await runAsync(addDrive(core, options));
      if (frontEnd !== undefined) core.attachDevice(device, frontEnd);
      return device;
    },
  };
}
const failing = (event: string, errno: number, more: JsonObject = {}): JsonObject => ({
  driver: "qcow2",
  "node-name": "n",
  "file.driver": "blkdebug",
  "file.image.driver": "file",
  "file.image.filename": "a",
  "file.inject-error.0.event": event,
  "file.inject-error.0.errno": errno,
  "file.inject-error.0.once": true,
  ...more,
});

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));
const read = (device: Device, length = 512, offset = 0): Promise<void> =>
  runAsync(device.guest.read(new Uint8Array(length), offset));
const write = (device: Device, length = 512, offset = 0): Promise<void> =>
  runAsync(device.guest.write(new Uint8Array(length).fill(7), offset));
const query = async (core: BlockCore, at = 0): Promise<JsonObject> => ((await core.execute("query-block")) as JsonObject[])[at]!;

const ioError = (operation: string, action: string, nospace: boolean, reason: string): unknown => [
  "BLOCK_IO_ERROR",
  { device: "d", "node-name": "n", operation, action, nospace, reason },
];

test("werror=stop: BLOCK_IO_ERROR and STOP, the request waits and is made again after cont", async () => {
  const { core, drive, heard } = await setUp();
  const device = await drive({ id: "d", werror: "stop", ...failing("write_aio", 5) }, DISK);
  const writing = write(device);
  await settle();
  assert.equal(heard(), [ioError("write", "stop", false, "Input/output error"), "STOP"]);
  assert.equal(await core.execute("query-status"), { status: "io-error", singlestep: false, running: false });
  assert.is((await query(core))["io-status"], "failed");
  let over = false;
  void writing.then(() => (over = true));
  const reading = read(device);
  await settle();
  assert.not.ok(over);
  await core.execute("cont");
  await Promise.all([writing, reading]);
  assert.equal(heard(), ["RESUME"]);
  assert.is((await query(core))["io-status"], "ok");
  await core.close();
});

test("the default stops on a full disk only; report and ignore", async () => {
  for (const [given, errno, action, nospace, reason] of [
    [{}, 28, "stop", true, "No space left on device"],
    [{}, 5, "report", false, "Input/output error"],
    [{ werror: "enospc" }, 28, "stop", true, "No space left on device"],
    [{ werror: "report" }, 28, "report", true, "No space left on device"],
    [{ werror: "ignore" }, 5, "ignore", false, "Input/output error"],
  ] as [JsonObject, number, string, boolean, string][]) {
    const { core, drive, heard } = await setUp();
    const device = await drive({ id: "d", ...given, ...failing("write_aio", errno) }, DISK);
    const writing = write(device);
    const outcome = writing.then(
      () => "done",
      () => "failed",
    );
    await settle();
    const [first] = heard() as [[string, JsonObject]];
    const expected = (ioError("write", action, nospace, reason) as [string, JsonObject])[1];
    // Without a policy that stops there is no io-status, and nothing about space then.
    if (given["werror"] === "report" || given["werror"] === "ignore") expected["nospace"] = false;
    assert.equal(first, ["BLOCK_IO_ERROR", expected]);
    const status = (await query(core))["io-status"];
    assert.is(status, expected["nospace"] === true ? "nospace" : "werror" in given && action !== "stop" ? undefined : "ok");
    if (action === "stop") await core.execute("cont");
    assert.is(await outcome, action === "report" ? "failed" : "done");
    await core.close();
  }
});

test("rerror; policies that there are not", async () => {
  const { core, drive, heard } = await setUp();
  const device = await drive({ id: "d", rerror: "stop", ...failing("read_aio", 5) }, DISK);
  await write(device);
  const reading = read(device);
  await settle();
  assert.equal(heard(), [ioError("read", "stop", false, "Input/output error"), "STOP"]);
  await core.execute("cont");
  await reading;
  assert.match((await refused(drive({ id: "x", rerror: "enospc" }))).message, /^'enospc' invalid read error action$/);
  assert.match((await refused(drive({ id: "x", werror: "what" }))).message, /^'what' invalid write error action$/);
  await core.close();
});

test("stop and cont: guests wait; a machine that has not been started", async () => {
  const { core, drive, heard } = await setUp();
  const device = await drive({ id: "d", file: "a", format: "qcow2" }, DISK);
  await core.execute("stop");
  await core.execute("stop");
  assert.equal(heard(), ["STOP"]);
  assert.equal(await core.execute("query-status"), { status: "paused", singlestep: false, running: false });
  let over = false;
  const writing = write(device).then(() => (over = true));
  await settle();
  assert.not.ok(over);
  await core.execute("cont");
  await writing;
  assert.equal(heard(), ["RESUME"]);
  await core.close();
  const waiting = new BlockCore({ environment: core.environment, runState: "prelaunch" });
  assert.equal(await waiting.execute("query-status"), { status: "prelaunch", singlestep: false, running: false });
  await waiting.close();
});

test("statistics: what was done, what failed, what was refused; times; histograms", async () => {
  const { core, drive, clock } = await setUp();
  const device = await drive(
    { id: "d", ...failing("flush_to_disk", 5), "stats-intervals.0": "10", "stats-account-invalid": "off" },
    DISK,
  );
  await core.execute("block-latency-histogram-set", { id: "disk", boundaries: [10, 1000], "boundaries-flush": [1] });
  await write(device, 4096, 8192);
  await read(device, 1024, 8192);
  await runAsync(device.guest.discard(0, 65536));
  await refused(runAsync(device.guest.flush()));
  await refused(read(device, 512, 1 << 20));
  await refused(write(device, 512, 1 << 20));
  clock.advance(5);
  const [stats] = (await core.execute("query-blockstats")) as { stats: JsonObject; qdev: string }[];
  assert.is(stats!.qdev, "disk");
  const expected: JsonObject = {
    rd_bytes: 1024,
    wr_bytes: 4096,
    unmap_bytes: 65536,
    rd_operations: 1,
    wr_operations: 1,
    unmap_operations: 1,
    flush_operations: 0,
    failed_flush_operations: 1,
    failed_wr_operations: 0,
    invalid_rd_operations: 1,
    invalid_wr_operations: 1,
    invalid_flush_operations: 0,
    wr_highest_offset: 12288,
    account_invalid: false,
    account_failed: true,
    idle_time_ns: 5_000_000,
    rd_latency_histogram: { boundaries: [10, 1000], bins: [1, 0, 0] },
    flush_latency_histogram: { boundaries: [1], bins: [1, 0] },
  };
  for (const [name, value] of Object.entries(expected)) assert.equal(stats!.stats[name], value, name);
  assert.is((stats!.stats["timed_stats"] as JsonObject[])[0]!["interval_length"], 10);
  assert.match(
    (await refused(core.execute("block-latency-histogram-set", { id: "disk", boundaries: [10, 10] }))).message,
    /set read boundaries fail/,
  );
  await core.execute("block-latency-histogram-set", { id: "disk" });
  const [after] = (await core.execute("query-blockstats")) as { stats: JsonObject }[];
  assert.is(after!.stats["rd_latency_histogram"], undefined);
  await core.close();
});

test("timed statistics cover the last interval", async () => {
  const { core, drive, clock } = await setUp();
  const { accounting } = await drive({ id: "d", file: "a", format: "qcow2", "stats-intervals.0": "1" }, DISK);
  const [interval] = accounting.intervals;
  const request = (ms: number): void => {
    const ticket = accounting.start("read", 512);
    clock.advance(ms);
    ticket.done();
  };
  request(10);
  request(30);
  assert.equal(interval!.spread("read"), { min: 10e6, max: 30e6, avg: 20e6 });
  clock.advance(2000);
  assert.equal(interval!.spread("read"), { min: 0, max: 0, avg: 0 });
  request(5);
  assert.equal(interval!.spread("read"), { min: 5e6, max: 5e6, avg: 5e6 });
  assert.ok(interval!.queueDepth("read") > 0);
  await core.close();
});

test("media: eject, trays, insert, change; events of the tray", async () => {
  const { core, drive, heard } = await setUp();
  const cd = await drive({ id: "d", file: "a", format: "qcow2", media: "cdrom" }, CDROM);
  const disk = await drive({ id: "hd", file: "b", format: "qcow2" }, DISK);
  const moved = (open: boolean): unknown => ["DEVICE_TRAY_MOVED", { device: "d", id: "cd", "tray-open": open }];
  const no = async (command: string, args: JsonObject, message: string): Promise<void> =>
    assert.is((await refused(core.execute(command, args))).message, message, `${command} ${JSON.stringify(args)}`);
  await no("eject", {}, "Need exactly one of 'device' and 'id'");
  await no("eject", { device: "hd" }, "Device 'hd' is not removable");
  await no("blockdev-remove-medium", { id: "cd" }, "Tray of device 'cd' is not open");
  cd.locked = true;
  await no("eject", { device: "d" }, "Device 'd' is locked and force was not specified, wait for tray to open and try again");
  await core.execute("blockdev-open-tray", { id: "cd" });
  assert.equal(heard(), []);
  await core.execute("blockdev-open-tray", { id: "cd", force: true });
  assert.equal(heard(), [moved(true)]);
  cd.locked = false;
  await core.execute("blockdev-remove-medium", { id: "cd" });
  assert.is((await query(core))["inserted"], undefined);
  assert.is((await query(core))["tray_open"], true);
  assert.is((await refused(read(cd))).errno, "ENOMEDIUM");
  await core.execute("blockdev-add", {
    driver: "qcow2",
    "node-name": "m",
    "read-only": true,
    file: { driver: "file", filename: "c" },
  });
  await core.execute("blockdev-insert-medium", { id: "cd", "node-name": "m" });
  await no("blockdev-insert-medium", { id: "cd", "node-name": "m" }, "Node 'm' is already in use");
  await no("blockdev-insert-medium", { id: "cd", "node-name": "x" }, "Node 'x' not found");
  await core.execute("blockdev-close-tray", { id: "cd" });
  assert.equal(heard(), [moved(false)]);
  await core.execute("blockdev-change-medium", { id: "cd", filename: "a", format: "qcow2" });
  assert.equal(heard(), [moved(true), moved(false)]);
  const { inserted } = (await query(core)) as { inserted: JsonObject };
  assert.is(inserted["file"], "a");
  assert.is(inserted["ro"], true, "as the medium before");
  await core.execute("blockdev-change-medium", { id: "cd", filename: "a", format: "qcow2", "read-only-mode": "read-write" });
  assert.is(((await query(core))["inserted"] as JsonObject)["ro"], false);
  await core.execute("eject", { id: "cd" });
  assert.is((await query(core))["inserted"], undefined);
  await no("blockdev-change-medium", { id: "disk", filename: "c", format: "qcow2" }, "Device 'disk' is not removable");
  assert.is(disk.backend.node.filename, "b");
  await core.close();
});

const NONE = { bps: 0, bps_rd: 0, bps_wr: 0, iops: 0, iops_rd: 0, iops_wr: 0 };

test("block_set_io_throttle: limits hold, show up, are shared by a group and go away", async () => {
  const { core, drive, clock } = await setUp();
  const d = await drive({ id: "d", file: "a", format: "qcow2" }, DISK);
  const e = await drive({ id: "e", file: "b", format: "qcow2" });
  await core.execute("block_set_io_throttle", { device: "d", ...NONE, iops: 10, iops_max: 20, iops_size: 4096 });
  const shown = (await query(core))["inserted"] as JsonObject;
  for (const [name, value] of Object.entries({ iops: 10, iops_max: 20, iops_max_length: 1, iops_size: 4096, group: "d" }))
    assert.is(shown[name], value, name);
  await core.execute("block_set_io_throttle", { device: "d", ...NONE, iops: 10, group: "g" });
  await core.execute("block_set_io_throttle", { device: "e", ...NONE, iops: 10, group: "g" });
  assert.is(d.backend.throttle!.group, e.backend.throttle!.group);
  let done = 0;
  const work = Promise.all([d, e].flatMap((device) => [1, 2, 3, 4, 5].map(() => read(device).then(() => done++))));
  await settle();
  const first = done;
  assert.ok(first >= 1 && first <= 2, `${first} at once`);
  for (let i = 0; i < 50; i++) {
    clock.advance(10);
    await new Promise((resolve) => void setImmediate(resolve));
  }
  await settle();
  assert.is(done, first + 5, "ten a second");
  await core.execute("block_set_io_throttle", { device: "d", ...NONE });
  await core.execute("block_set_io_throttle", { device: "e", ...NONE });
  await work;
  assert.is(((await query(core))["inserted"] as JsonObject)["group"], undefined);
  assert.is(core.throttleGroups.find("g"), null);
  const empty = await drive({ id: "empty" });
  assert.is(
    (await refused(core.execute("block_set_io_throttle", { device: empty.name, ...NONE }))).message,
    "Device has no medium",
  );
  for (const [args, message] of [
    [{ bps: 1, bps_rd: 1 }, /cannot be used at the same time/],
    [{ iops_size: 1 }, /iops size requires/],
    [{ bps_max: 1 }, /require corresponding/],
    [{ bps: -1 }, /must be within \[0, 1000000000000000\]/],
    [{ bps: 10, bps_max: 20, bps_max_length: 0 }, /burst length cannot be 0/],
  ] as [JsonObject, RegExp][])
    assert.match((await refused(core.execute("block_set_io_throttle", { device: "d", ...NONE, ...args }))).message, message);
  await core.close();
});

test("throttle groups as objects: the filter and drives find them, qom-get and qom-set, object-del when nobody is left", async () => {
  const { core, drive } = await setUp();
  await core.execute("object-add", { "qom-type": "throttle-group", id: "g", limits: { "bps-total": 1000, "iops-total": 5 } });
  await core.execute("blockdev-add", {
    driver: "throttle",
    "node-name": "t",
    "throttle-group": "g",
    file: { driver: "qcow2", file: { driver: "file", filename: "a" } },
  });
  await drive({ id: "d", file: "b", format: "qcow2", "throttling.group": "g", "throttling.bps-total": "2k" });
  const limits = async (): Promise<JsonObject> =>
    (await core.execute("qom-get", { path: "/objects/g", property: "limits" })) as JsonObject;
  assert.is((await limits())["bps-total"], 2048);
  await core.execute("qom-set", { path: "g", property: "limits", value: { "bps-total": 7, "iops-total": 5 } });
  await core.execute("qom-set", { path: "g", property: "limits", value: { "bps-total-max": 70 } });
  assert.equal([(await limits())["bps-total"], (await limits())["iops-total"], (await limits())["bps-total-max"]], [7, 5, 70]);
  assert.is(await core.execute("qom-get", { path: "g", property: "x-bps-total" }), 7);
  for (const [command, args, message] of [
    ["qom-set", { path: "g", property: "limits", value: { "bps-read": 1 } }, /at the same time/],
    ["qom-set", { path: "g", property: "limits", value: { bogus: 1 } }, /^Parameter 'limits.bogus' is unexpected$/],
    ["qom-set", { path: "g", property: "x-bps-total", value: 1 }, /^Property cannot be set after initialization$/],
    ["qom-get", { path: "g", property: "nope" }, /^Property 'throttle-group.nope' not found$/],
    ["qom-list", { path: "/objects/nope" }, /^Device '\/objects\/nope' not found$/],
    ["object-del", { id: "g" }, /^object 'g' is in use, can not be deleted$/],
    ["object-add", { "qom-type": "throttle-group", id: "h", "x-bps-total": -1 }, /^Property values cannot be negative$/],
  ] as [string, JsonObject, RegExp][])
    assert.match((await refused(core.execute(command, args))).message, message);
  assert.is(((await core.execute("qom-list", { path: "/objects" })) as unknown[]).length, 2);
  await core.execute("blockdev-del", { "node-name": "t" });
  await runAsync(core.removeDevice(core.devices.get("d")!));
  await core.execute("object-del", { id: "g" });
  await core.close();
});

test("the dialect of 2.2: change, eject, block_set_io_throttle, BLOCK_IO_ERROR", async () => {
  const { core, drive, heard } = await setUp("qemu-2.2");
  await drive({ id: "d", file: "a", format: "qcow2" });
  await core.execute("change", { device: "d", target: "b", arg: "qcow2" });
  assert.is(((await query(core))["inserted"] as JsonObject)["file"], "b");
  await core.execute("block_set_io_throttle", { device: "d", ...NONE, bps: 10 });
  assert.is(((await query(core))["inserted"] as JsonObject)["bps"], 10);
  assert.is((await refused(core.execute("block_set_io_throttle", { device: "x", ...NONE }))).qmpClass, "DeviceNotFound");
  await core.execute("eject", { device: "d" });
  assert.is((await query(core))["inserted"], undefined);
  const device = await drive({ id: "e", werror: "ignore", ...failing("write_aio", 28) });
  await write(device);
  assert.equal(heard(), [
    ["BLOCK_IO_ERROR", { device: "e", operation: "write", action: "ignore", reason: "No space left on device" }],
  ]);
  await core.close();
});

test("answers are what they are declared to be, in both dialects", async () => {
  for (const profile of ["qemu-7.2", "qemu-2.2"] as const) {
    const { core, drive } = await setUp(profile);
    await drive({ id: "cd", media: "cdrom" }, CDROM);
    await drive(
      {
        id: "d",
        file: "a",
        format: "qcow2",
        "throttling.iops-total": "10",
        "throttling.iops-total-max": "20",
        "stats-intervals.0": "1",
      },
      DISK,
    );
    if (profile === "qemu-7.2") {
      await core.execute("block-latency-histogram-set", { id: "disk", boundaries: [10, 1000] });
      await core.execute("block-dirty-bitmap-add", { node: "d", name: "b", persistent: true });
      await core.execute("object-add", { "qom-type": "throttle-group", id: "g" });
      await core.execute("blockdev-snapshot-internal-sync", { device: "d", name: "s" });
    }
    for (const { name, arguments: given, returns } of core.commands()) {
      if (!/^(x-debug-)?query-/.test(name) || given?.kind === "union" || returns === null || name === "query-qmp-schema")
        continue;
      const answer = (await core.execute(name)) as JsonValue;
      const plain = JSON.parse(JSON.stringify(answer)) as JsonValue;
      assert.equal(JSON.parse(JSON.stringify(returns.validate(plain))), plain, `${name} in ${profile}`);
    }
    await core.close();
  }
});

test("block_passwd unlocks what was opened without its key", async () => {
  const world = makeWorld({ mode: "async", drivers: [raw, qcow2], seed: 1, secrets: { k: "secret" } });
  const encrypt = { "encrypt.format": "aes", "encrypt.key-secret": "k" };
  await world.create("qcow2", "locked", 1 << 20, encrypt);
  await world.create("qcow2", "plain", 1 << 20);
  const image = await world.open("qcow2", "locked", { write: true }, { encrypt: { "key-secret": "k" } });
  await world.run(io.write(image, new Uint8Array(512).fill(5), 0));
  await world.close(image);
  const core = new BlockCore({ environment: world.environment, profile: "qemu-2.2" });
  for (const name of ["locked", "plain"]) {
    const options = { driver: "qcow2", id: name, file: { driver: "file", filename: name } };
    await core.execute("blockdev-add", { options });
  }
  const missing = async (): Promise<unknown> => ((await query(core))["inserted"] as JsonObject)["encryption_key_missing"];
  const into = new Uint8Array(512);
  assert.is(await missing(), true);
  const device = core.devices.get("locked")!;
  assert.instance(await refused(runAsync(device.guest.read(into, 0))), BlockError);
  const passwd = (args: JsonObject): Promise<unknown> => core.execute("block_passwd", { password: "secret", ...args });
  assert.is((await refused(passwd({ device: "x" }))).qmpClass, "DeviceNotFound");
  assert.is((await refused(passwd({ device: "plain" }))).qmpClass, "DeviceNotEncrypted");
  await passwd({ device: "locked" });
  assert.is(await missing(), false);
  await runAsync(device.guest.read(into, 0));
  assert.equal(into, new Uint8Array(512).fill(5));
  await passwd({ device: "locked", password: "another" });
  await runAsync(device.guest.write(into.fill(6), 512));
  await runAsync(device.guest.read(into.fill(0), 512));
  assert.is(into[0], 6);
  await core.close();
});

test("devices are found by ID and by place; one that only has a disk inside is not the disk", async () => {
  const { core, drive } = await setUp();
  const place = "/machine/peripheral/v/virtio-backend";
  const inside = await drive(
    { file: "a", if: "none", id: "d" },
    { id: null, qdev: place, outer: "v", removable: false, tray: false, ioStatus: true },
  );
  assert.is(core.devices.behind(place), inside);
  assert.is(core.devices.behind("v/virtio-backend"), inside);
  assert.is((await refused(core.execute("eject", { id: "v" }))).message, "Device does not have a block device backend");
  assert.is((await refused(core.execute("eject", { id: "w" }))).qmpClass, "DeviceNotFound");
  core.detachDevice(inside);
  assert.is(core.devices.behind(place), undefined);
  assert.is(inside.backend.permissions, undefined);
  await core.close();
});

test("a guest that is still elsewhere keeps nobody from its disk", async () => {
  const world = makeWorld({ mode: "async", drivers: [raw, qcow2], seed: 1 });
  await world.create("qcow2", "a", 1 << 20);
  const core = new BlockCore({ environment: world.environment, runState: "inmigrate" });
  const device = await runAsync(addDrive(core, { file: "a", if: "none", id: "d" }));
  core.attachDevice(device, DISK);
  assert.ok(device.medium!.inactive !== null);
  const other = new Backend("", device.medium);
  other.permissions = { needed: Permission.write, shared: Permission.consistentRead | Permission.write };
  checkPermissions(device.medium!);
  core.machine.become("paused");
  assert.throws(() => checkPermissions(device.medium!), /both required by an unnamed block device/);
  await runAsync(other.close());
  await core.close();
});

test("a program's own commands stand beside and before those of the block layer", async () => {
  const { environment } = makeWorld({ mode: "async", drivers: [raw], seed: 1 });
  const mine = (name: string): Command => ({
    name,
    since: "1.0",
    summary: "",
    arguments: null,
    returns: str(),
    // eslint-disable-next-line require-yield
    *run() {
      return `my ${name}`;
    },
  });
  const hello: HmpCommand = {
    name: "hello",
    parameters: [],
    usage: "",
    summary: "greets",
    // eslint-disable-next-line require-yield
    *run(_core, out) {
      out.print("hello\n");
    },
  };
  const core = new BlockCore({
    environment,
    commands: [mine("own"), mine("query-version")],
    humanCommands: { commands: [hello] },
  });
  assert.is(await core.execute("own"), "my own");
  assert.is(await core.execute("query-version"), "my query-version");
  const names = ((await core.execute("query-commands")) as JsonObject[]).map(({ name }) => name);
  assert.is(names.filter((name) => name === "query-version").length, 1);
  assert.ok(names.includes("own") && names.includes("query-block"));
  const say = (line: string): Promise<JsonValue> => core.execute("human-monitor-command", { "command-line": line });
  assert.is(await say("hello"), "hello\r\n");
  assert.match(String(await say("help")), "greets");
  await core.close();
});

test.run();
