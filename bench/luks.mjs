// How fast is a LUKS image read, in process and by convert, against the real qemu-img convert?
//   node bench/luks.mjs [MiB] [rounds]
import { spawnSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { closeSync, openSync as openFile, writeSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { inTemporary, MiB, OURS, paired, QEMU_IMG, record, timed } from "./lib/bench.mjs";

const size = Number(process.argv[2] ?? 512);
const rounds = Number(process.argv[3] ?? 5);
const { openSync } = await import(pathToFileURL(resolve("build/dist/node.js")).href);
const SECRET = ["--object", "secret,id=s,data=sesame"];
const OPEN = { luks: "driver=luks,key-secret=s", qcow2: "driver=qcow2,encrypt.key-secret=s" };

await inTemporary(async (dir) => {
  const fd = openFile(join(dir, "plain"), "w");
  const part = randomFillSync(Buffer.alloc(MiB));
  for (let i = 0; i < size; i++) writeSync(fd, part, 0, MiB);
  closeSync(fd);
  for (const format of ["luks", "qcow2"]) {
    const prefix = format === "luks" ? "" : "encrypt.";
    const options = `${format === "luks" ? "" : "encrypt.format=luks,"}${prefix}key-secret=s,${prefix}iter-time=10`;
    // QEMU cannot measure its own speed at times.
    for (let tries = 0; ; tries++) {
      const made = spawnSync(QEMU_IMG, ["convert", ...SECRET, "-O", format, "-o", options, "plain", format], { cwd: dir });
      if (made.status === 0) break;
      if (tries === 9) throw new Error(String(made.stderr));
    }
    const convert = (program) => () =>
      timed(program, ["convert", ...SECRET, "--image-opts", `${OPEN[format]},file.filename=${format}`, "-O", "raw", "out"], dir, {
        warm: size,
      }).wall;
    const inProcess = () => {
      const start = performance.now();
      const image = openSync(join(dir, format), { format, secrets: { s: "sesame" }, options: { [`${prefix}key-secret`]: "s" } });
      const into = new Uint8Array(2 * MiB);
      for (let at = 0; at < image.size; at += into.length)
        image.readInto(into.subarray(0, Math.min(into.length, image.size - at)), at);
      image.close();
      return (performance.now() - start) / 1000;
    };
    inProcess();
    const { ours, theirs, cli } = await paired(rounds, { ours: inProcess, theirs: convert(QEMU_IMG), cli: convert(OURS) });
    record({
      bench: "luks",
      name: `read ${size} MiB of ${format === "luks" ? "LUKS" : "qcow2 with LUKS"}`,
      unit: "MiB/s",
      ours: size / ours,
      theirs: size / theirs,
      ratio: theirs / ours,
      target: 1,
      atLeast: true,
      note: `in process, against qemu-img convert to raw; our convert: ${(size / cli).toFixed(0)} MiB/s`,
    });
  }
});
