// How fast are internal snapshots of a large image, against the real qemu-img?  1 TiB, 64 GiB of it allocated.
//   node bench/snapshot.mjs [rounds]
import { spawnSync } from "node:child_process";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { inTemporary, OURS, paired, QEMU_IMG, record, timed } from "./lib/bench.mjs";

const rounds = Number(process.argv[2] ?? 7);
const { openSync } = await import(pathToFileURL(resolve("build/dist/node.js")).href);

function qemuImg(dir, ...args) {
  const done = spawnSync(QEMU_IMG, args, { cwd: dir, stdio: "inherit" });
  if (done.status !== 0) throw new Error(`${QEMU_IMG} ${args.join(" ")}: status ${done.status ?? done.signal}`);
}

const seconds = (work) => {
  const start = performance.now();
  work();
  return (performance.now() - start) / 1000;
};

await inTemporary(async (dir) => {
  // Each contestant has an image of its own: snapshots leave different layouts behind.
  for (const name of ["ours", "theirs", "cli"]) {
    qemuImg(dir, "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", name, "64G");
    qemuImg(dir, "resize", "-q", "-f", "qcow2", name, "1T");
  }
  const inProcess = (work) =>
    seconds(() => {
      const image = openSync(join(dir, "ours"), { format: "qcow2", writable: true });
      work(image);
      image.close();
    });
  const times = await paired(rounds, {
    ours: () => ({
      create: inProcess((image) => image.createSnapshot("s")),
      delete: inProcess((image) => image.deleteSnapshot("s")),
    }),
    theirs: () => ({
      create: timed(QEMU_IMG, ["snapshot", "-c", "s", "theirs"], dir).wall,
      delete: timed(QEMU_IMG, ["snapshot", "-d", "s", "theirs"], dir).wall,
    }),
    cli: () => ({
      create: timed(OURS, ["snapshot", "-c", "s", "cli"], dir).wall,
      delete: timed(OURS, ["snapshot", "-d", "s", "cli"], dir).wall,
    }),
  });
  qemuImg(dir, "check", "-q", "ours");
  for (const verb of ["create", "delete"]) {
    for (const [where, ours] of [
      ["in process", times.ours[verb]],
      ["program", times.cli[verb]],
    ]) {
      record({
        bench: "snapshot",
        name: `${verb}, 1 TiB with 64 GiB allocated, ${where}`,
        unit: "s",
        ours,
        theirs: times.theirs[verb],
        ratio: ours / times.theirs[verb],
        target: 1,
      });
    }
  }
});
