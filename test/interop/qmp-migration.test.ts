/** Live migration of what the block layer holds: QEMU's emulator and the stand-in tell the same story on both sides. */
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { qemu } from "../support/qemu.js";
import { skip } from "../support/skip.js";
import { tempPath } from "../support/temp.js";
import { QmpClient, type Json } from "./qmp-client.js";
import { bundleProgram, difference, mask } from "./qmp-compare.js";

const EMULATOR = "qemu-system-x86_64";
const hasEmulator = spawnSync(EMULATOR, ["--version"]).status === 0;
const MACHINE = ["-nodefaults", "-nographic", "-machine", "pc", "-m", "16"];
/** Events about what the stand-in has not got. */
const RAM: ReadonlySet<string> = new Set(["MIGRATION_PASS", "RTC_CHANGE"]);
const base = tempPath("qmp-migration");
let standIn: Promise<string[]> | null = null;

const run = (execute: string, args?: Json): Json => ({ execute, ...(args === undefined ? {} : { arguments: args }) });
const io = (command: string): Json => run("human-monitor-command", { "command-line": `qemu-io disk "${command}"` });
const capabilities = (...names: string[]): Json =>
  run("migrate-set-capabilities", { capabilities: names.map((capability) => ({ capability, state: true })) });
const digest = run("x-debug-block-dirty-bitmap-sha256", { node: "disk", name: "b" });
const state = [run("query-status"), run("query-migrate"), digest];

interface Story {
  /** On the source, before; on both sides; on the destination, afterwards; on the source again. */
  source: readonly Json[];
  both: readonly Json[];
  destination: readonly Json[];
  back: readonly Json[];
  /** The image of the destination; the source's is "a.qcow2". */
  image: string;
}

class Side {
  readonly replies: Json[] = [];
  readonly client: QmpClient;
  constructor(client: QmpClient) {
    this.client = client;
  }
  async run(steps: readonly Json[]): Promise<void> {
    for (const step of steps) {
      const reply = await this.client.run(step);
      const { status, "error-desc": why } = (reply["return"] ?? {}) as Json;
      this.replies.push(
        step["execute"] === "query-migrate" ? { status, why } : step["execute"] === "human-monitor-command" ? {} : reply,
      );
    }
  }
  migrated(): Promise<unknown> {
    const isOver = (event: Json): boolean =>
      event["event"] === "MIGRATION" && ["completed", "failed"].includes(String((event["data"] as Json)["status"]));
    return this.client.waitFor(0, isOver);
  }
  /** The last attempt to migrate is over: until then QEMU refuses what could stand in its way. */
  async settled(): Promise<void> {
    for (let tries = 0; tries < 200; tries++) {
      const reply = await this.client.run(run("query-migrate"));
      if (["failed", "cancelled", "completed"].includes(String((reply["return"] as Json)["status"]))) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error("the migration does not come to its end");
  }
  async reach(wanted: string): Promise<void> {
    for (let tries = 0; tries < 200; tries++) {
      const reply = await this.client.run(run("query-status"));
      if ((reply["return"] as Json)["status"] === wanted) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
  get story(): unknown {
    return mask([this.replies, this.client.events.filter(({ event }) => !RAM.has(String(event)))]);
  }
}

async function play(command: readonly string[], folder: string, story: Story): Promise<unknown[]> {
  const sides: Side[] = [];
  const start = async (name: string, image: string, more: readonly string[]): Promise<Side> => {
    mkdirSync(join(folder, name), { recursive: true });
    const drive = ["-drive", `file=../${image},format=qcow2,if=none,id=disk,node-name=n`];
    const client = await QmpClient.start(
      command,
      join(folder, name),
      [...MACHINE, ...drive, ...more],
      ["-mon", "chardev=qmp,mode=control"],
    );
    sides.push(new Side(client));
    return sides.at(-1)!;
  };
  mkdirSync(folder, { recursive: true });
  for (const image of new Set(["a.qcow2", story.image]))
    qemu("qemu-img", "create", "-q", "-f", "qcow2", join(folder, image), "4M");
  try {
    const source = await start("source", "a.qcow2", []);
    await source.run(story.source);
    const destination = await start("destination", story.image, ["-incoming", "unix:../m"]);
    for (const side of [source, destination]) await side.run(story.both);
    await source.run([run("migrate", { uri: "unix:../m" })]);
    await Promise.all([source.migrated(), destination.migrated()]);
    await source.reach("postmigrate");
    await destination.reach("running");
    for (const side of [source, destination]) await side.run(state);
    await destination.run(story.destination);
    await source.run(story.back);
    return [source.story, destination.story];
  } finally {
    for (const side of sides) await side.client.quit();
    rmSync(folder, { recursive: true, force: true });
  }
}

const add = (more: Json): Json => run("block-dirty-bitmap-add", { node: "disk", name: "b", ...more });
const stories: Record<string, Story> = {
  "an image that both have": {
    source: [add({}), io("write 0 64k")],
    both: [capabilities("events")],
    destination: [io("write 1M 64k"), run("query-block")],
    back: [],
    image: "a.qcow2",
  },
  "a persistent bitmap goes with the image": {
    source: [add({ persistent: true }), io("write 0 64k")],
    both: [capabilities("events")],
    destination: [io("write 1M 64k"), digest],
    back: [],
    image: "a.qcow2",
  },
  "a bitmap goes with the machine": {
    source: [add({ granularity: 4096 }), io("write 0 64k")],
    both: [capabilities("events", "dirty-bitmaps")],
    destination: [io("write 1M 64k"), digest],
    back: [run("cont"), ...state, io("write 2M 64k"), digest],
    image: "b.qcow2",
  },
  "what is left at home is there again": {
    source: [add({ persistent: true }), io("write 0 64k")],
    both: [capabilities("events")],
    destination: [],
    back: [run("cont"), ...state],
    image: "b.qcow2",
  },
};

const migration = suite("migration");
for (const [name, story] of Object.entries(stories)) {
  migration(name, async () => {
    if (!hasEmulator) return skip(`${EMULATOR} is not installed`);
    const ours = await (standIn ??= bundleProgram("test/support/standin/main.ts"));
    const [expected, actual] = [await play([EMULATOR], join(base, "theirs"), story), await play(ours, join(base, "ours"), story)];
    const problem = difference("source", [expected[0]], [actual[0]]) ?? difference("destination", [expected[1]], [actual[1]]);
    if (problem !== null) throw new Error(problem);
  });
}

migration("what cannot be", async () => {
  if (!hasEmulator) return skip(`${EMULATOR} is not installed`);
  const ours = await (standIn ??= bundleProgram("test/support/standin/main.ts"));
  const steps = [
    run("query-migrate"),
    run("migrate-start-postcopy"),
    run("migrate-continue", { state: "pre-switchover" }),
    run("migrate-incoming", { uri: "defer" }),
    run("migrate-set-capabilities", { capabilities: [{ capability: "nope", state: true }] }),
    run("migrate", { uri: "unix:/nonexistent" }),
    run("migrate_cancel"),
  ];
  const blocked = [
    run("blockdev-add", { driver: "vdi", "node-name": "v", file: { driver: "file", filename: "../d.vdi" } }),
    run("migrate", { uri: "unix:/nonexistent" }),
  ];
  const answers = async (command: readonly string[]): Promise<unknown> => {
    const folder = join(base, "refused", "here");
    mkdirSync(folder, { recursive: true });
    qemu("qemu-img", "create", "-q", "-f", "vdi", join(base, "refused", "d.vdi"), "1M");
    const client = await QmpClient.start(command, folder, MACHINE, ["-mon", "chardev=qmp,mode=control"]);
    try {
      const side = new Side(client);
      await side.run(steps);
      await side.settled();
      await side.run(blocked);
      return mask(side.replies);
    } finally {
      await client.quit();
      rmSync(join(base, "refused"), { recursive: true, force: true });
    }
  };
  const problem = difference("answers", [await answers([EMULATOR])], [await answers(ours)]);
  if (problem !== null) throw new Error(problem);
});
migration.run();
