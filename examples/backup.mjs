// Incremental backup of a disk in use: what changed since the last one, pushed into a file, or pulled by whoever asks over NBD.
//   node examples/backup.mjs [directory]
import { BlockCore, create, messageDuplex, MiB, NbdClient } from "blockcore/node";
import { join } from "node:path";

const dir = process.argv[2] ?? ".";
const SIZE = 64 * MiB;
const core = new BlockCore({ references: "allow" });
const add = (name) =>
  core.execute("blockdev-add", {
    driver: "qcow2",
    "node-name": name,
    file: { driver: "file", filename: join(dir, `${name}.qcow2`) },
  });
for (const name of ["disk", "full"]) {
  await create(join(dir, `${name}.qcow2`), { format: "qcow2", size: SIZE });
  await add(name);
}

// 1. A full backup, and from the same moment on a bitmap of what changes.
await core.execute("transaction", {
  actions: [
    { type: "block-dirty-bitmap-add", data: { node: "disk", name: "changes", persistent: true } },
    { type: "blockdev-backup", data: { "job-id": "full", device: "disk", target: "full", sync: "full" } },
  ],
});
await core.job("full").completed;
await core.execute("blockdev-del", { "node-name": "full" });

// 2. The disk is used. Requests go through a node that keeps what a backup still needs before it is overwritten.
await create(join(dir, "fleece.qcow2"), { format: "qcow2", size: SIZE });
await add("fleece");
await core.disk("disk").write(new Uint8Array(MiB).fill(1), 5 * MiB);

// 3. Pulled: the state of this moment as an NBD export, with the bitmap that says where to look.
await core.execute("blockdev-add", {
  driver: "copy-before-write",
  "node-name": "guest",
  file: "disk",
  target: "fleece",
  bitmap: { node: "disk", name: "changes" },
});
await core.execute("blockdev-add", { driver: "snapshot-access", "node-name": "moment", file: "guest" });
await core.startNbd();
await core.execute("block-export-add", {
  type: "nbd",
  id: "pull",
  "node-name": "moment",
  name: "disk",
  bitmaps: [{ node: "disk", name: "changes" }],
});
const guest = core.disk("guest");
await guest.write(new Uint8Array(MiB).fill(2), 5 * MiB); // is not in the backup

const { port1, port2 } = new MessageChannel(); // or a socket: nbd-server-start
const served = core.serveNbd(messageDuplex(port1));
const context = "qemu:dirty-bitmap:changes";
const client = await NbdClient.connect(messageDuplex(port2), { exportName: "disk", contexts: [context] });
for (let at = 0; at < client.size;) {
  for (const { length, flags } of await client.blockStatus(at, client.size - at, context)) {
    if ((flags & 1) !== 0) {
      const bytes = new Uint8Array(length);
      await client.read(bytes, at);
      console.log("pulled", length, "bytes at", at, "beginning with", bytes[0]);
    }
    at += length;
  }
}
await client.close();
await served;
await guest.close();
for (const stop of [
  ["block-export-del", { id: "pull" }],
  ["blockdev-del", { "node-name": "moment" }],
  ["blockdev-del", { "node-name": "guest" }],
])
  await core.execute(...stop);

// 4. Or pushed: an overlay of the full backup with what changed. The bitmap is cleared when that succeeds.
await create(join(dir, "increment.qcow2"), {
  format: "qcow2",
  size: SIZE,
  backing: "full.qcow2",
  backingFormat: "qcow2",
  references: "allow",
});
await add("increment");
const push = await core.start("blockdev-backup", {
  "job-id": "push",
  device: "disk",
  target: "increment",
  sync: "incremental",
  bitmap: "changes",
});
await push.completed;
console.log("pushed", push.progress.current, "bytes");
await core.close();
