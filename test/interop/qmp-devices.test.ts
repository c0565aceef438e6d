/** Drives with guest devices: the same commands to QEMU's emulator and to the stand-in over the library. */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { allFilters } from "../../src/platform/all-filters.js";
import { runAsync } from "../../src/block/op.js";
import { nodeEnvironment } from "../../src/platform/node-environment.js";
import { BlockCore, type QmpEvent } from "../../src/qmp/block-core.js";
import { addDrive } from "../../src/qmp/drive.js";
import { qemu } from "../support/qemu.js";
import { skip } from "../support/skip.js";
import { tempPath } from "../support/temp.js";
import { QmpClient, type Json } from "./qmp-client.js";
import { bundleProgram, difference, mask, type Transcript } from "./qmp-compare.js";
import { deviceScenarios, type DeviceScenario } from "./qmp-device-scenarios.js";

const EMULATOR = "qemu-system-x86_64";
const hasEmulator = spawnSync(EMULATOR, ["--version"]).status === 0;
const USUAL = ["-S", "-nodefaults", "-nographic", "-machine", "pc", "-m", "16"];

/** Differences that are known: the beginning of a scenario's name, and why. */
const KNOWN: readonly [name: string, why: string][] = [];

const base = tempPath("qmp-devices");
const template = join(base, "template");

function makeTemplate(): void {
  mkdirSync(template, { recursive: true });
  const at = (name: string): string => join(template, name);
  qemu("qemu-img", "create", "-f", "qcow2", at("disk.qcow2"), "16M");
  qemu("qemu-img", "create", "-f", "raw", at("b.raw"), "4M");
  qemu("qemu-img", "create", "-f", "qcow2", "-b", "disk.qcow2", "-F", "qcow2", at("c.qcow2"));
}

async function play(command: readonly string[], folder: string, { machine, steps, until }: DeviceScenario): Promise<Transcript> {
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(template)) copyFileSync(join(template, name), join(folder, name));
  const client = await QmpClient.start(command, folder, [...USUAL, ...machine], ["-mon", "chardev=qmp,mode=control"]);
  try {
    const replies: Json[] = [];
    for (const step of steps) {
      const reply = await client.run(step);
      // What qemu-io prints goes elsewhere.
      replies.push(step["execute"] === "human-monitor-command" ? {} : reply);
    }
    if (until === undefined) await new Promise((resolve) => setTimeout(resolve, 20));
    else await client.waitFor(0, until);
    return { replies: replies.map((reply) => mask(sorted(reply))), events: mask(client.events) as unknown[] };
  } finally {
    await client.quit();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Objects are listed in no order that means anything; so are the nodes of a graph, whose numbers count them. */
function sorted(reply: Json): Json {
  const list = reply["return"];
  if (Array.isArray(list) && list.some((item) => typeof item === "object" && item !== null && "type" in item && "name" in item))
    return { return: [...(list as Json[])].sort((a, b) => (String(a["name"]) < String(b["name"]) ? -1 : 1)) };
  return reply;
}

const scenarios = deviceScenarios();
const devices = suite("devices");
const BATCH = 12;
let standIn: Promise<string[]> | null = null;

for (let first = 0; first < scenarios.length; first += BATCH) {
  const batch = scenarios.slice(first, first + BATCH);
  devices(`scenarios ${first + 1} to ${first + batch.length}: ${batch[0]!.name.slice(0, 60)} …`, async () => {
    if (!hasEmulator) return skip(`${EMULATOR} is not installed`);
    if (standIn === null) {
      makeTemplate();
      standIn = bundleProgram("test/support/standin/main.ts");
    }
    const ours = await standIn;
    const problems: string[] = [];
    for (const scenario of batch) {
      if (KNOWN.some(([name]) => scenario.name.startsWith(name))) continue;
      const [expected, actual] = await Promise.all([
        play([EMULATOR], join(base, "theirs"), scenario),
        play(ours, join(base, "ours"), scenario),
      ]);
      const problem =
        difference("replies", expected.replies, actual.replies) ?? difference("events", expected.events, actual.events);
      if (problem === null) continue;
      problems.push(`${scenario.name}: ${problem}`);
      console.log(problems.at(-1));
    }
    if (problems.length > 0) throw new Error(`${problems.length} of ${batch.length} differ\n${problems.join("\n")}`);
  });
}

/** The firmware of a machine reads its boot disk: the one guest there is. */
devices("BLOCK_IO_ERROR and STOP when a guest's read fails", async () => {
  if (!hasEmulator) return skip(`${EMULATOR} is not installed`);
  if (standIn === null) makeTemplate();
  const rule =
    "file.driver=blkdebug,file.image.driver=file,file.image.filename=b.raw,file.inject-error.0.event=none,file.inject-error.0.iotype=read,file.inject-error.0.immediately=on";
  const drive = `driver=raw,id=d0,node-name=n0,rerror=stop,${rule}`;
  const folder = join(base, "firmware");
  mkdirSync(folder, { recursive: true });
  copyFileSync(join(template, "b.raw"), join(folder, "b.raw"));
  const questions = ["query-status", "query-block"].map((execute): Json => ({ execute }));
  const client = await QmpClient.start(
    [EMULATOR],
    folder,
    [...USUAL, "-drive", `if=none,${drive}`, "-device", "virtio-blk-pci,drive=d0,bootindex=0"],
    ["-mon", "chardev=qmp,mode=control"],
  );
  const theirs: Transcript = { replies: [], events: [] };
  try {
    await client.run({ execute: "cont" });
    await client.waitFor(0, (event) => event["event"] === "STOP");
    for (const question of questions) theirs.replies.push(await client.run(question));
    theirs.events.push(...client.events);
  } finally {
    await client.quit();
  }
  const core = new BlockCore({ environment: nodeEnvironment({ formats: allFilters }), runState: "prelaunch" });
  const events: QmpEvent[] = [];
  core.on((event) => void events.push(event));
  const options = Object.fromEntries(drive.split(",").map((part) => part.split("=") as [string, string]));
  const device = await runAsync(addDrive(core, { ...options, "file.image.filename": join(folder, "b.raw") }));
  core.attachDevice(device, { id: null, qdev: "", removable: false, tray: false, ioStatus: true });
  await core.execute("cont");
  const reading = runAsync(device.guest.read(new Uint8Array(512), 0)).catch(() => {});
  while (core.machine.isRunning) await new Promise((resolve) => setTimeout(resolve, 2));
  const ours: Transcript = {
    replies: [],
    events: events.map(({ event, data }) => (Object.keys(data).length === 0 ? { event } : { event, data })),
  };
  for (const { execute } of questions) ours.replies.push({ return: await core.execute(String(execute)) });
  const known = (list: readonly unknown[]): unknown[] =>
    (mask(JSON.parse(JSON.stringify(list).replaceAll(`${folder}/`, ""))) as Json[]).map((item) => item);
  const only = (transcript: Transcript): unknown[] => [
    ...known(transcript.events),
    known(transcript.replies)[0],
    ...(known(transcript.replies)[1] as { return: Json[] }).return.map(({ device: name, "io-status": status }) => ({
      name,
      status,
    })),
  ];
  const problem = difference("what came of it", only(theirs), only(ours));
  void reading;
  core.machine.resume();
  await core.close();
  if (problem !== null) throw new Error(problem);
});

devices.run();
