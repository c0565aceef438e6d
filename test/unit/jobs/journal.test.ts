/** Jobs that go on after the process has died: what they copy again, and when they refuse. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { equalBytes } from "../../../src/base/bytes.js";
import { BlockCore } from "../../../src/edge.js";
import type { JobHandle } from "../../../src/qmp/job-handle.js";
import { memoryStorage, type MemoryStorage } from "../../../src/storage/memory.js";
import { refusal } from "../../support/refused.js";

const MiB = 1024 * 1024;
const SIZE = 8 * MiB;
type Kind = "blockdev-mirror" | "blockdev-backup";
type Settings = { between?: "unchanged" | "unknown"; checkpointBytes?: number };

interface Media {
  source: MemoryStorage;
  target: MemoryStorage;
  journal: MemoryStorage;
}

function fresh(): Media {
  const source = memoryStorage(0);
  const bytes = new Uint8Array(SIZE);
  for (let i = 0; i < SIZE; i += 512) bytes.fill((i / 512) % 251, i, i + 512);
  source.sync.write(bytes, 0);
  return { source, target: memoryStorage(SIZE), journal: memoryStorage(0) };
}

/** The media as they are at this moment, for another process. */
const after = (media: Media): Media => ({
  source: media.source.snapshot(),
  target: media.target.snapshot(),
  journal: media.journal.snapshot(),
});

async function open({ source, target }: Media): Promise<BlockCore> {
  const core = new BlockCore({ files: { source, target } });
  for (const name of ["source", "target"])
    await core.execute("blockdev-add", { driver: "raw", "node-name": name, file: { driver: "file", filename: name } });
  return core;
}

function start(core: BlockCore, kind: Kind, media: Media, settings: Settings, speed = 0): Promise<JobHandle> {
  const args = { "job-id": "j", device: "source", target: "target", sync: "full", speed } as const;
  return core.start(kind, args, { journal: media.journal, checkpointBytes: MiB, ...settings });
}

/** A job that dies when about half is copied; what it leaves. */
async function interrupted(kind: Kind, meanwhile?: (core: BlockCore) => Promise<void>): Promise<Media> {
  const media = fresh();
  const core = await open(media);
  const job = await start(core, kind, media, {}, 1);
  job.setSpeed(400 * MiB);
  while (job.progress.current < SIZE / 2) await new Promise((resolve) => setTimeout(resolve, 1));
  await meanwhile?.(core);
  const left = after(media);
  await core.close();
  return left;
}

const content = (storage: MemoryStorage): Uint8Array => storage.toBytes(0, SIZE);

test("a mirror goes on with what was left", async () => {
  const media = await interrupted("blockdev-mirror");
  const core = await open(media);
  const job = await start(core, "blockdev-mirror", media, { between: "unchanged" });
  await job.ready;
  assert.ok(job.progress.total < SIZE, `${job.progress.total} bytes of ${SIZE} were copied again`);
  await job.complete();
  await core.close();
  assert.ok(equalBytes(content(media.target), content(media.source)), "the target is like the source");
  // The job is done: its journal is good for another one.
  const again = await open(media);
  const whole = await start(again, "blockdev-mirror", media, {});
  await whole.ready;
  assert.is(whole.progress.total, SIZE);
  await again.close();
});

test("a mirror finds out what was written since", async () => {
  const media = await interrupted("blockdev-mirror");
  media.source.sync.write(new Uint8Array(5000).fill(0xab), 12_345);
  const core = await open(media);
  const job = await start(core, "blockdev-mirror", media, {});
  await job.ready;
  assert.ok(job.progress.total < SIZE, `${job.progress.total} bytes of ${SIZE} were copied again`);
  await job.complete();
  await core.close();
  assert.ok(equalBytes(content(media.target), content(media.source)), "the target is like the source");
});

test("guest writes during the job are in the journal", async () => {
  const media = await interrupted("blockdev-mirror", async (core) => {
    const disk = core.disk("source");
    for (let i = 0; i < 20; i++) await disk.write(new Uint8Array(3000).fill(i + 1), i * 200_000);
  });
  const core = await open(media);
  const job = await start(core, "blockdev-mirror", media, { between: "unchanged" });
  await job.ready;
  await job.complete();
  await core.close();
  assert.ok(equalBytes(content(media.target), content(media.source)), "the target is like the source");
});

test("a backup goes on, and is still of the moment it began", async () => {
  const before = content(fresh().source);
  const media = await interrupted("blockdev-backup", async (core) => {
    const disk = core.disk("source");
    for (let i = 0; i < 20; i++) await disk.write(new Uint8Array(3000).fill(i + 1), i * 400_000);
  });
  const unsure = await open(media);
  assert.match(await refusal(start(unsure, "blockdev-backup", media, {})), "its source may have changed since");
  assert.equal(unsure.jobs(), []);
  await unsure.close();
  const core = await open(media);
  const job = await start(core, "blockdev-backup", media, { between: "unchanged" });
  await job.completed;
  assert.ok(job.progress.total < SIZE, `${job.progress.total} bytes of ${SIZE} were copied again`);
  await core.close();
  assert.ok(equalBytes(content(media.target), before), "the backup is of the moment it began");
});

test("a core that is closed leaves a journal to go on with", async () => {
  const media = fresh();
  const core = await open(media);
  await start(core, "blockdev-backup", media, {}, 1);
  await core.close();
  const again = await open(media);
  await (
    await start(again, "blockdev-backup", media, { between: "unchanged" })
  ).completed;
  await again.close();
  assert.ok(equalBytes(content(media.target), content(media.source)), "the target is like the source");
});

test("a journal is refused where it does not belong", async () => {
  const media = await interrupted("blockdev-mirror");
  const core = await open(media);
  assert.match(await refusal(start(core, "blockdev-backup", media, {})), "it is of a job with type mirror, not backup");
  const bytes = media.journal.toBytes();
  media.journal.sync.truncate(5000);
  media.journal.sync.truncate(4096);
  assert.match(await refusal(start(core, "blockdev-mirror", media, {})), "it is cut off");
  media.journal.sync.write(
    bytes.map((byte) => byte ^ 0x55),
    0,
  );
  assert.match(await refusal(start(core, "blockdev-mirror", media, {})), "this is not a journal of a job");
  const stream = core.start("block-stream", { device: "source" }, { journal: media.journal });
  assert.match(await refusal(stream), "Jobs of block-stream keep no journal");
  assert.equal(core.jobs(), []);
  await core.close();
});

test("a cancelled backup can not go on", async () => {
  const media = fresh();
  const core = await open(media);
  const job = await start(core, "blockdev-backup", media, {}, 1);
  await job.cancel();
  const again = start(core, "blockdev-backup", media, { between: "unchanged" });
  assert.match(await refusal(again), "the disk was written after the job had failed");
  await core.close();
});

test.run();
