// A disk that is being written is backed up and then moved, under QMP's commands.   node examples/live.mjs [directory]
// The same runs in a page, a worker or at the edge: import from blockcore/browser, blockcore/worker or blockcore/edge.
import { BlockCore, create, MiB } from "blockcore/node";
import { join } from "node:path";

const dir = process.argv[2] ?? ".";
for (const name of ["disk", "copy", "moved"]) await create(join(dir, `${name}.qcow2`), { format: "qcow2", size: 8 * MiB });

// readme: live
const core = new BlockCore();
for (const name of ["disk", "copy", "moved"]) {
  const file = { driver: "file", filename: join(dir, `${name}.qcow2`) };
  await core.execute("blockdev-add", { driver: "qcow2", "node-name": name, file });
}
const disk = core.disk("disk"); // read and written like a guest's disk, while jobs run
await disk.write(new TextEncoder().encode("as it was"), 0);

const backup = await core.start("blockdev-backup", { "job-id": "backup", device: "disk", target: "copy", sync: "full" });
await disk.write(new TextEncoder().encode("as it is."), 0); // not in the backup: that is of the moment it began
await backup.completed;

core.on("BLOCK_JOB_READY", ({ data }) => console.log("ready:", data.device, data.len, "bytes"));
const move = await core.start("blockdev-mirror", { "job-id": "move", device: "disk", target: "moved", sync: "full" });
await move.ready;
await move.complete(); // from now on the disk is moved.qcow2
// readme: end

const text = async (from) => new TextDecoder().decode(await from.read(0, 9));
const copy = core.disk("copy");
console.log("disk:", await text(disk), "on", disk.nodeName, "- copy:", await text(copy));
await core.close();
