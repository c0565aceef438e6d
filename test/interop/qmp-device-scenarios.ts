/** Scenarios with guest devices, for the emulator. Images: disk.qcow2 (16M), b.raw (4M), c.qcow2 (over disk.qcow2). */
import type { Json } from "./qmp-client.js";

export interface DeviceScenario {
  name: string;
  /** The emulator's options beside the usual ones. */
  machine: readonly string[];
  steps: readonly Json[];
  /** The event that everything is over with, where QEMU takes its time. */
  until?: (event: Json) => boolean;
}

const run = (execute: string, args?: Json): Json => ({ execute, ...(args === undefined ? {} : { arguments: args }) });
const io = (device: string, command: string): Json =>
  run("human-monitor-command", { "command-line": `qemu-io ${device} "${command}"` });

const disk = (more = ""): string[] => ["-drive", `file=disk.qcow2,format=qcow2,if=none,id=d0${more}`];
const virtio = ["-device", "virtio-blk-pci,drive=d0,id=v0"];
const scsi = (more = ""): string[] => ["-device", "virtio-scsi-pci,id=bus", "-device", `scsi-hd,drive=d0,id=hd${more}`];
const cdrom = ["-device", "ide-cd,id=cd"];
const floppy = ["-device", "floppy,id=fd"];
const spare = ["-drive", "if=none,id=spare"];

const NONE = { bps: 0, bps_rd: 0, bps_wr: 0, iops: 0, iops_rd: 0, iops_wr: 0 };
const limit = (which: Json, limits: Json): Json => run("block_set_io_throttle", { ...which, ...NONE, ...limits });
const state = [run("query-block"), run("query-blockstats")];

export function deviceScenarios(): DeviceScenario[] {
  const all: DeviceScenario[] = [];
  const add = (name: string, machine: readonly string[], steps: readonly Json[], until?: DeviceScenario["until"]): void =>
    void all.push({ name, machine, steps, ...(until === undefined ? {} : { until }) });

  // What devices look like.
  const policies: Record<string, string> = {
    default: "",
    "rerror=stop": ",rerror=stop",
    "werror=stop": ",werror=stop",
    "werror=report": ",werror=report",
    "both ignore": ",rerror=ignore,werror=ignore",
    "read-only": ",read-only=on",
    "cache=none": ",cache=none",
    "cache=unsafe": ",cache=unsafe",
    "detect-zeroes": ",detect-zeroes=on,discard=unmap",
    throttling: ",throttling.iops-total=10,throttling.iops-total-max=20,throttling.iops-size=4096",
    "throttling of a group": ",throttling.bps-total=1000,throttling.group=g",
    statistics: ",stats-account-invalid=off,stats-account-failed=off,stats-intervals.0=10,stats-intervals.1=60",
    "node-name": ",node-name=n0",
  };
  for (const [what, more] of Object.entries(policies)) add(`scsi-hd: ${what}`, [...disk(more), ...scsi()], state);
  add("virtio-blk", [...disk(), ...virtio], state);
  add("a drive without a device", disk(), state);
  add("an empty drive", spare, state);
  add(
    "an overlay that is shorter than its disk",
    ["-blockdev", "driver=null-co,size=1073741824,node-name=n0", "-device", "virtio-blk-pci,drive=n0,id=v0"],
    [
      run("blockdev-add", { driver: "qcow2", "node-name": "n1", file: { driver: "file", filename: "disk.qcow2" } }),
      run("blockdev-snapshot", { node: "n0", overlay: "n1" }),
      run("query-block"),
    ],
  );
  const identity = [run("query-name"), run("query-uuid")];
  add("a machine without a name", [], identity);
  add("a machine with a name", ["-name", "guest=one", "-uuid", "01234567-89ab-cdef-0123-456789abcdef"], identity);
  add("cdrom and floppy", [...cdrom, ...floppy], state);
  add(
    "a node as a disk",
    [
      "-blockdev",
      "driver=qcow2,node-name=n0,file.driver=file,file.filename=disk.qcow2",
      "-device",
      "virtio-scsi-pci,id=bus",
      "-device",
      "scsi-hd,drive=n0,id=hd",
    ],
    state,
  );
  add("a chain", ["-drive", "file=c.qcow2,if=none,id=d0", ...scsi()], state);

  // The machine.
  const status = run("query-status");
  add("stop and cont", disk(), [status, run("cont"), status, run("cont"), run("stop"), run("stop"), status, run("cont"), status]);

  // Limits.
  const limits: [string, Json, Json][] = [
    ["average", { device: "d0" }, { bps: 1000 }],
    ["both directions", { device: "d0" }, { bps_rd: 1000, bps_wr: 2000, iops: 5 }],
    ["burst", { device: "d0" }, { iops: 10, iops_max: 100, iops_max_length: 3, iops_size: 8192 }],
    ["group", { device: "d0" }, { iops_rd: 10, group: "g" }],
    ["by id", { id: "hd" }, { iops: 10 }],
    ["total and part", { device: "d0" }, { bps: 1, bps_rd: 1 }],
    ["total and part of bursts", { device: "d0" }, { bps: 1, bps_max: 2, bps_rd_max: 1 }],
    ["burst alone", { device: "d0" }, { iops_max: 1 }],
    ["burst below", { device: "d0" }, { iops: 10, iops_max: 5 }],
    ["length alone", { device: "d0" }, { iops: 10, iops_max_length: 5 }],
    ["length 0", { device: "d0" }, { iops: 10, iops_max: 20, iops_max_length: 0 }],
    ["length too long", { device: "d0" }, { bps: 1e14, bps_max: 1e15, bps_max_length: 5 }],
    ["size alone", { device: "d0" }, { iops_size: 512 }],
    ["too much", { device: "d0" }, { bps: 1e15 + 1 }],
    ["the most", { device: "d0" }, { bps: 1e15 }],
    ["negative", { device: "d0" }, { iops: -1 }],
    ["no such device", { device: "x" }, { iops: 1 }],
    ["no such id", { id: "x" }, { iops: 1 }],
    ["nothing named", {}, { iops: 1 }],
    ["both named", { device: "d0", id: "hd" }, { iops: 1 }],
    ["no medium", { device: "spare" }, { iops: 1 }],
  ];
  // One machine serves all: limits go again after each.
  add(
    `block_set_io_throttle: ${limits.map(([what]) => what).join("; ")}`,
    [...disk(), ...scsi(), ...spare],
    limits.flatMap(([, which, given]) => [limit(which, given), run("query-block"), limit(which, {}), run("query-block")]),
  );
  const other = ["-drive", "file=b.raw,format=raw,if=none,id=d1"];
  add(
    "two drives of a group",
    [...disk(), ...other],
    [
      limit({ device: "d0" }, { iops: 100, group: "g" }),
      limit({ device: "d1" }, { bps: 200, group: "g" }),
      run("query-block"),
      limit({ device: "d0" }, {}),
      limit({ device: "d1" }, { bps: 300 }),
      run("query-block"),
    ],
  );
  add(
    "a group that is an object",
    ["-object", "throttle-group,id=g,x-iops-total=50", ...disk(",throttling.group=g")],
    [
      run("qom-get", { path: "/objects/g", property: "limits" }),
      run("query-block"),
      limit({ device: "d0" }, { iops: 7 }),
      run("qom-get", { path: "g", property: "x-iops-total" }),
      run("qom-set", { path: "g", property: "limits", value: { "iops-total": 9, "iops-total-max": 90 } }),
      run("qom-set", { path: "g", property: "limits", value: { "iops-read": 9 } }),
      run("qom-set", { path: "g", property: "limits", value: { x: 9 } }),
      run("qom-set", { path: "g", property: "x-iops-total", value: 9 }),
      run("qom-get", { path: "g", property: "x" }),
      run("query-block"),
      run("object-del", { id: "g" }),
      run("qom-list", { path: "/objects/g" }),
      run("qom-list", { path: "/objects/x" }),
    ],
  );

  // Media.
  const raw = { driver: "raw", "node-name": "m", "read-only": true, file: { driver: "file", filename: "b.raw" } };
  const medium = run("blockdev-add", raw);
  add(
    "trays",
    [...cdrom, ...floppy, ...disk(), ...scsi(), ...spare],
    [
      run("blockdev-open-tray", { id: "cd" }),
      run("blockdev-open-tray", { id: "cd" }),
      run("query-block"),
      run("blockdev-close-tray", { id: "cd" }),
      run("blockdev-close-tray", { id: "cd" }),
      ...["blockdev-open-tray", "blockdev-close-tray", "blockdev-remove-medium", "eject"].flatMap((command) => [
        run(command, { id: "fd" }),
        run(command, { id: "hd" }),
        run(command, { id: "x" }),
        ...(command === "blockdev-remove-medium"
          ? []
          : [run(command, { device: "spare" }), run(command, {}), run(command, { device: "d0" })]),
      ]),
    ],
  );
  add(
    "media in and out",
    [...cdrom, ...floppy, ...disk(), ...scsi()],
    [
      medium,
      run("blockdev-insert-medium", { id: "cd", "node-name": "m" }),
      run("blockdev-open-tray", { id: "cd" }),
      run("blockdev-insert-medium", { id: "cd", "node-name": "x" }),
      run("blockdev-insert-medium", { id: "cd", "node-name": "m" }),
      run("blockdev-insert-medium", { id: "fd", "node-name": "m" }),
      run("blockdev-insert-medium", { id: "hd", "node-name": "m" }),
      run("blockdev-del", { "node-name": "m" }),
      run("blockdev-close-tray", { id: "cd" }),
      run("blockdev-remove-medium", { id: "cd" }),
      run("query-block"),
      run("eject", { id: "cd" }),
      run("blockdev-insert-medium", { id: "fd", "node-name": "m" }),
      run("query-block"),
      run("blockdev-remove-medium", { id: "fd" }),
      run("blockdev-del", { "node-name": "m" }),
    ],
  );
  const change = (args: Json): Json => run("blockdev-change-medium", args);
  add(
    "change",
    [...cdrom, ...disk(), ...scsi(), ...spare],
    [
      change({ id: "cd", filename: "b.raw", format: "raw", "read-only-mode": "read-only" }),
      change({ id: "cd", filename: "b.raw", format: "raw" }),
      run("query-block"),
      change({ id: "cd", filename: "nope", format: "raw" }),
      change({ id: "cd", filename: "b.raw", format: "nope" }),
      run("eject", { id: "cd" }),
      change({ id: "hd", filename: "b.raw", format: "raw" }),
      change({ filename: "b.raw" }),
      change({ device: "spare", filename: "c.qcow2", format: "qcow2" }),
      change({ device: "spare", filename: "b.raw", format: "raw" }),
      run("query-block"),
      run("eject", { device: "spare" }),
      run("query-block"),
    ],
  );

  // Sizes.
  add(
    "block_resize",
    [...disk(), ...virtio, ...spare],
    [
      run("block_resize", { device: "d0", size: 32 << 20 }),
      run("block_resize", { device: "d0", size: 8 << 20 }),
      run("block_resize", { device: "d0", size: 1000 }),
      run("block_resize", { device: "d0", size: -1 }),
      run("block_resize", { device: "spare", size: 512 }),
      run("block_resize", { device: "x", size: 512 }),
      run("block_resize", { "node-name": "x", size: 512 }),
      run("query-block"),
    ],
  );

  // Statistics and thresholds.
  add(
    "counting what the monitor does",
    [...disk(",node-name=n0"), ...scsi()],
    [
      io("d0", "write 0 64k"),
      io("d0", "aio_write 64k 4k"),
      io("d0", "aio_flush"),
      io("d0", "aio_read 0 8k"),
      io("d0", "aio_flush"),
      run("query-blockstats"),
      run("block-set-write-threshold", { "node-name": "n0", "write-threshold": 1 << 20 }),
      run("query-named-block-nodes", { flat: true }),
      io("d0", "write 0 1M"),
      io("d0", "write 1M 4k"),
      io("d0", "write 2M 4k"),
      run("block-set-write-threshold", { "node-name": "x", "write-threshold": 1 }),
    ],
  );
  const histogram = (args: Json): Json => run("block-latency-histogram-set", { id: "hd", ...args });
  add(
    "histograms",
    [...disk(), ...scsi()],
    [
      histogram({ boundaries: [10, 100], "boundaries-write": [5] }),
      run("query-blockstats"),
      histogram({ boundaries: [10, 10] }),
      histogram({ "boundaries-read": [0, 10] }),
      histogram({}),
      run("query-blockstats"),
      run("block-latency-histogram-set", { id: "x", boundaries: [1] }),
    ],
  );

  // The graph below a device.
  const top: Json = { driver: "qcow2", "node-name": "n0", file: { driver: "file", "node-name": "f0", filename: "disk.qcow2" } };
  const onNode = ["-blockdev", JSON.stringify(top), "-device", "virtio-scsi-pci,id=bus", "-device", "scsi-hd,drive=n0,id=hd"];
  const reopen = (more: Json): Json => run("blockdev-reopen", { options: [{ ...top, ...more }] });
  add("reopening below a device", onNode, [
    reopen({}),
    reopen({ "detect-zeroes": "on", discard: "unmap" }),
    reopen({ "read-only": true }),
    reopen({ "lazy-refcounts": true, "overlap-check": "all" }),
    reopen({ file: "nope" }),
    reopen({ "node-name": "x" }),
    run("query-block"),
    run("blockdev-del", { "node-name": "n0" }),
  ]);
  add(
    "who shares what",
    [...disk(",node-name=n0"), ...scsi()],
    [
      run("blockdev-add", { driver: "raw", "node-name": "r", file: "n0" }),
      run("blockdev-add", { driver: "qcow2", "node-name": "q", file: "n0" }),
      run("blockdev-add", { driver: "blkdebug", "node-name": "b", image: "n0", "take-child-perms": ["write"] }),
      run("blockdev-add", { driver: "blkdebug", "node-name": "b", image: "n0", "unshare-child-perms": ["consistent-read"] }),
      run("x-debug-query-block-graph"),
    ],
  );
  add(
    "snapshots of devices",
    [...disk(), ...scsi()],
    [
      run("blockdev-snapshot-internal-sync", { device: "d0", name: "s" }),
      run("blockdev-snapshot-internal-sync", { device: "d0", name: "s" }),
      run("blockdev-snapshot-delete-internal-sync", { device: "d0", name: "x" }),
      run("block-dirty-bitmap-add", { node: "d0", name: "b" }),
      io("d0", "write 0 1k"),
      run("query-block"),
    ],
  );

  const bitmap = (type: string, data: Json): Json => ({ type: `block-dirty-bitmap-${type}`, data });
  add("bitmaps move to a snapshot's overlay in one transaction", disk(",node-name=n0"), [
    run("block-dirty-bitmap-add", { node: "n0", name: "b", persistent: true }),
    run("transaction", {
      actions: [
        { type: "blockdev-snapshot-sync", data: { device: "d0", "snapshot-file": "top.qcow2", "snapshot-node-name": "top" } },
        bitmap("add", { node: "top", name: "b", persistent: true }),
        bitmap("merge", { node: "top", target: "b", bitmaps: [{ node: "n0", name: "b" }] }),
        bitmap("remove", { node: "n0", name: "b" }),
      ],
    }),
    run("query-block"),
    run("transaction", { actions: [bitmap("remove", { node: "top", name: "b" }), { type: "abort", data: {} }] }),
    run("block-dirty-bitmap-remove", { node: "top", name: "b" }),
  ]);
  add("a file that the user made is as writable as before below a snapshot", onNode, [
    run("blockdev-add", { driver: "file", "node-name": "tf", filename: "b.raw" }),
    run("blockdev-add", { driver: "raw", "node-name": "rr", file: "tf" }),
    run("blockdev-add", { driver: "file", "node-name": "cf", filename: "c.qcow2" }),
    run("blockdev-add", { driver: "qcow2", "node-name": "c", file: "cf", backing: null }),
    run("blockdev-snapshot", { node: "rr", overlay: "c" }),
    run("query-named-block-nodes", { flat: true }),
  ]);

  // Plugging and unplugging. (QEMU takes its time to let go of a drive: it is not asked about right after.)
  const plug = (options: Json): Json => run("device_add", options);
  const unplug = (id: string): Json => run("device_del", { id });
  const node = run("blockdev-add", { driver: "null-co", "node-name": "nul" });
  const deleted =
    (device: string) =>
    (event: Json): boolean =>
      event["event"] === "DEVICE_DELETED" && (event["data"] as Json)["device"] === device;
  const names = run("x-debug-query-block-graph");
  const bus = ["-device", "virtio-scsi-pci,id=bus"];
  add(
    "a SCSI disk comes and goes",
    bus,
    [
      node,
      plug({ driver: "scsi-hd", id: "hd", drive: "nul" }),
      run("query-block"),
      run("qom-get", { path: "/machine/peripheral/hd", property: "drive" }),
      plug({ driver: "scsi-hd", id: "hd", drive: "nul" }),
      run("blockdev-del", { "node-name": "nul" }),
      unplug("hd"),
      unplug("hd"),
    ],
    deleted("hd"),
  );
  add(
    "a virtio disk goes at the reset",
    [],
    [
      node,
      plug({ driver: "virtio-blk", id: "v0", drive: "nul" }),
      run("eject", { id: "v0" }),
      run("eject", { id: "/machine/peripheral/v0/virtio-backend" }),
      limit({ id: "v0/virtio-backend" }, { iops: 7 }),
      unplug("v0"),
      run("query-block"),
      run("system_reset"),
    ],
    deleted("v0"),
  );
  add("plugging what cannot be", bus, [
    node,
    plug({ id: "x" }),
    plug({ driver: "nope" }),
    plug({ driver: "scsi-hd", id: "1x", drive: "nul" }),
    plug({ driver: "scsi-hd", id: "x", drive: "nope" }),
    plug({ driver: "scsi-hd", id: "x" }),
    plug({ driver: "scsi-hd", id: "x", drive: "nul", bus: "nope.0" }),
    unplug("x"),
    run("query-block"),
    names,
  ]);
  add(
    "a device moves above a filter whose target has the disk below it",
    [...onNode, "-object", "iothread,id=t"],
    [
      run("blockdev-add", { driver: "qcow2", "node-name": "temp", file: { driver: "file", filename: "c.qcow2" }, backing: "n0" }),
      run("blockdev-add", { driver: "copy-before-write", "node-name": "cbw", file: "n0", target: "temp" }),
      run("qom-set", { path: "/machine/peripheral/hd", property: "drive", value: "cbw" }),
      run("blockdev-add", { driver: "raw", "node-name": "r", file: "n0" }),
      run("qom-set", { path: "/machine/peripheral/hd", property: "drive", value: "n0" }),
      run("blockdev-del", { "node-name": "cbw" }),
    ],
  );
  add("a device on another node", bus, [
    node,
    run("blockdev-add", { driver: "null-co", "node-name": "second" }),
    plug({ driver: "scsi-hd", id: "hd", drive: "nul" }),
    run("qom-set", { path: "/machine/peripheral/hd", property: "drive", value: "second" }),
    run("query-block"),
    run("blockdev-del", { "node-name": "nul" }),
    run("qom-set", { path: "/machine/peripheral/hd", property: "drive", value: "nope" }),
    run("blockdev-del", { "node-name": "second" }),
  ]);
  return all;
}
