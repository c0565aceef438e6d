/** What `BlockCore` of every entry must do; no platform imports. */
import * as assert from "uvu/assert";
import { BlockError } from "../../src/base/error.js";
import type { BlockCore, BlockCoreOptions } from "../../src/library/block-core.js";
import { messageDuplex, type MessageChannelLike } from "../../src/nbd/message-duplex.js";
import type { Disk } from "../../src/qmp/disk.js";
import type { Profile } from "../../src/qmp/command.js";
import { memoryStorage } from "../../src/storage/memory.js";

const SIZE = 4 << 20;
type Any = BlockCore<"qemu-7.2", never>;

async function makeImage(core: Any, nodeName: string, filename: string): Promise<void> {
  const create = await core.start("blockdev-create", {
    "job-id": `create-${nodeName}`,
    options: { driver: "file", filename, size: 0 },
  });
  await create.completed;
  create.dismiss();
  await core.execute("blockdev-add", { driver: "file", "node-name": `${nodeName}-file`, filename });
  const format = await core.start("blockdev-create", {
    "job-id": `format-${nodeName}`,
    options: { driver: "qcow2", file: `${nodeName}-file`, size: SIZE },
  });
  await format.completed;
  format.dismiss();
  await core.execute("blockdev-add", { driver: "qcow2", "node-name": nodeName, file: `${nodeName}-file` });
}

/** Writes here and there until told to stop; the model follows. */
async function guest(disk: Disk, model: Uint8Array, seed: number, more: () => boolean): Promise<void> {
  let state = seed;
  const next = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  do {
    const offset = next(SIZE - 70_000);
    const bytes = new Uint8Array(1 + next(70_000)).fill(next(255) + 1);
    await disk.write(bytes, offset);
    model.set(bytes, offset);
    // A turn of the event loop, so that everyone else gets on.
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
  } while (more());
}

function same(actual: Uint8Array, expected: Uint8Array, what: string): void {
  assert.is(actual.length, expected.length, what);
  for (let i = 0; i < actual.length; i++)
    if (actual[i] !== expected[i]) assert.unreachable(`${what}: byte ${i} is ${actual[i]}, not ${expected[i]}`);
}

/** A guest writes while a backup, a mirror that takes over, and a commit run. @param here prefix of file names, `there` of copies' */
export async function copiesFollow(core: Any, here: string, there: string): Promise<void> {
  const events: string[] = [];
  const stop = new AbortController();
  const listening = (async (): Promise<void> => {
    for await (const event of core.events(stop.signal)) if (event.event !== "JOB_STATUS_CHANGE") events.push(event.event);
  })();
  await makeImage(core, "disk", `${here}disk`);
  await makeImage(core, "backup", `${there}backup`);
  await makeImage(core, "mirror", `${there}mirror`);
  const disk = core.disk("disk");
  const model = new Uint8Array(SIZE);
  await guest(disk, model, 1, () => false);

  const before = model.slice();
  const backup = await core.start("blockdev-backup", { "job-id": "b", device: "disk", target: "backup", sync: "full" });
  await guest(disk, model, 2, () => backup.status !== "concluded" && backup.status !== "null");
  await backup.completed;
  const copy = core.disk("backup");
  same(await copy.read(0, SIZE), before, "the backup");
  await copy.close();

  const mirror = await core.start("blockdev-mirror", {
    "job-id": "m",
    device: "disk",
    target: "mirror",
    sync: "full",
    "copy-mode": "write-blocking",
  });
  let isReady = false;
  const ready = mirror.ready.then(() => void (isReady = true));
  await guest(disk, model, 3, () => !isReady);
  await ready;
  await mirror.complete();
  assert.is(disk.nodeName, "mirror", "the target has taken the disk's place");
  same(await disk.read(0, SIZE), model, "the mirror");
  assert.is(mirror.progress.current, mirror.progress.total);

  await core.execute("blockdev-snapshot-sync", {
    "node-name": "mirror",
    "snapshot-file": `${here}overlay`,
    "snapshot-node-name": "overlay",
    format: "qcow2",
  });
  await guest(disk, model, 4, () => false);
  const commit = await core.start("block-commit", { "job-id": "c", device: "overlay" });
  await commit.ready;
  await commit.complete();
  same(await disk.read(0, SIZE), model, "after the commit");
  await disk.close();
  stop.abort();
  await listening;
  assert.equal(
    events.filter((name) => name.startsWith("BLOCK_JOB")),
    ["BLOCK_JOB_COMPLETED", "BLOCK_JOB_READY", "BLOCK_JOB_COMPLETED", "BLOCK_JOB_READY", "BLOCK_JOB_COMPLETED"],
  );
  await core.close();
}

/** A QMP client on the other end of a MessageChannel, or of what is given. */
export async function monitorAnswers(core: Any, ends: readonly [unknown, unknown] = messagePorts()): Promise<void> {
  const serving = core.serve(messageDuplex(ends[0] as MessageChannelLike));
  const client = messageDuplex(ends[1] as MessageChannelLike);
  const send = (message: object): Promise<void> => client.write([new TextEncoder().encode(`${JSON.stringify(message)}\n`)]);
  const replies = lines(client.incoming);
  const answer = async (): Promise<unknown> => (await replies.next()).value;
  assert.ok(((await answer()) as { QMP?: unknown }).QMP, "a greeting");
  await send({ execute: "qmp_capabilities" });
  assert.equal(await answer(), { return: {} });
  await send({ execute: "blockdev-add", arguments: { driver: "null-co", "node-name": "n", size: 65536 }, id: 7 });
  assert.equal(await answer(), { return: {}, id: 7 });
  await send({ execute: "blockdev-add", arguments: { driver: "null-co", "node-name": "n" } });
  assert.equal(await answer(), {
    error: { class: "GenericError", desc: "Duplicate nodes with node-name='n'" },
  });
  client.close();
  await serving;
  await core.close();
}

function messagePorts(): [unknown, unknown] {
  const { port1, port2 } = new MessageChannel();
  return [port1, port2];
}

async function* lines(incoming: AsyncIterable<Uint8Array>): AsyncGenerator<unknown, void, undefined> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of incoming) {
    text += decoder.decode(chunk, { stream: true });
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n")) {
      yield JSON.parse(text.slice(0, at));
      text = text.slice(at + 1);
    }
  }
}

/** Names mean what was given; what an image names beyond that is refused. */
export async function namesAreGiven(
  make: (options: BlockCoreOptions<Profile, Uint8Array | ReturnType<typeof memoryStorage>>) => unknown,
): Promise<void> {
  const base = memoryStorage(0);
  const top = memoryStorage(0);
  const first = make({ files: { base, top } }) as Any;
  for (const [name, backing] of [
    ["base", undefined],
    ["top", "base"],
  ] as const) {
    await first.execute("blockdev-add", { driver: "file", "node-name": name, filename: name });
    const job = await first.start("blockdev-create", {
      "job-id": `make-${name}`,
      options: {
        driver: "qcow2",
        file: name,
        size: SIZE,
        ...(backing === undefined ? {} : { "backing-file": backing, "backing-fmt": "qcow2" as const }),
      },
    });
    await job.completed;
    job.dismiss();
  }
  await first.close();

  const chain = { driver: "qcow2", "node-name": "t", file: { driver: "file", filename: "top" } } as const;
  const given = make({ files: { base, top } }) as Any;
  await given.execute("blockdev-add", chain);
  assert.is((await given.execute("query-named-block-nodes")).length, 4);
  assert.not.ok(await given.file("other"));
  await given.close();

  const lacking = make({ files: { top } }) as Any;
  let refusal: unknown = null;
  try {
    await lacking.execute("blockdev-add", chain);
  } catch (error) {
    refusal = error;
  }
  assert.instance(refusal, BlockError);
  assert.is((refusal as BlockError).code, "ERR_DENIED");
  await lacking.close();
}
