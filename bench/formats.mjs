// How fast does convert make and read each format, against the real qemu-img? Page cache warm.
// "Without starting" takes off what the same program needs for an image of 1 MiB of zeros.
// Disks and their write-back disturb more than there is to measure: use a file system in memory where there is one (12 GiB free).
//   TMPDIR=/dev/shm node bench/formats.mjs [MiB] [rounds] [format ...]      4 GiB, 2 to 5 rounds: all formats in about 25 minutes
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { burst, inTemporary, MiB, OURS, paired, QEMU_IMG, quickest, record, timed } from "./lib/bench.mjs";
import { makeMixedImage } from "./lib/images.mjs";

const [sizeText, roundsText, ...wanted] = process.argv.slice(2);
const size = Number(sizeText ?? 4096);
const rounds = Number(roundsText ?? 5);
/** No more rounds of a case after so many seconds: where one of the two takes long, the noise is small. */
const LONG = 60;
/** A case is over before that when the two best rounds of either program are as near as this: the best was no accident. */
const SETTLED = 1.03;

/** Creation options beside the format's name. */
const formats = {
  qcow2: ["qcow2"],
  qed: ["qed"],
  qcow: ["qcow"],
  vdi: ["vdi"],
  "vdi static": ["vdi", "static=on"],
  vpc: ["vpc"],
  "vpc fixed": ["vpc", "subformat=fixed,force_size=on"],
  vhdx: ["vhdx"],
  "vhdx fixed": ["vhdx", "subformat=fixed"],
  vmdk: ["vmdk"],
  "vmdk flat": ["vmdk", "subformat=monolithicFlat"],
  "vmdk split": ["vmdk", "subformat=twoGbMaxExtentSparse"],
  "vmdk stream": ["vmdk", "subformat=streamOptimized"],
  parallels: ["parallels"],
  luks: ["luks", "key-secret=key,iter-time=500"],
};
const SECRET = ["--object", "secret,id=key,data=only for a bench"];

const write = (format, options) => ["-f", "raw", "-O", format, ...(options === undefined ? [] : ["-o", options])];
/** LUKS finds its secret by options only. */
const read = (format, image) =>
  format === "luks"
    ? ["--image-opts", "-O", "raw", `driver=luks,file.filename=${image},key-secret=key`]
    : ["-f", format, "-O", "raw", image];

/** qemu-img gives up now and then where its iterations of PBKDF2 are over sooner than it can measure. */
function withMeasuredKeys(work) {
  for (let tries = 1; ; tries++) {
    try {
      return work();
    } catch (error) {
      if (tries === 10 || !error.message.includes("Unable to get accurate CPU usage")) throw error;
    }
  }
}
const settled = (samples) =>
  Object.values(samples).every((list) => {
    const [best, second] = list.map(({ wall }) => wall).sort((a, b) => a - b);
    return second <= best * SETTLED;
  });

await inTemporary(async (dir) => {
  makeMixedImage(join(dir, "from.raw"), size);
  writeFileSync(join(dir, "small.raw"), Buffer.alloc(MiB));
  const clean = () => {
    for (const name of ["out", "out-flat", "out-s001"]) rmSync(join(dir, name), { force: true });
  };
  const convert = (program, args) => {
    clean();
    return withMeasuredKeys(() =>
      timed(program, ["convert", ...(args.some((arg) => arg.includes("luks")) ? SECRET : []), ...args, "out"], dir),
    );
  };
  for (const [name, [format, options]] of Object.entries(formats)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    for (const from of ["from", "small"]) {
      const secret = format === "luks" ? SECRET : [];
      const make = ["convert", ...secret, ...write(format, options), `${from}.raw`, `${from}.${format}`];
      withMeasuredKeys(() => timed(QEMU_IMG, make, dir));
    }
    for (const [what, args] of [
      [`raw to ${name}`, (from) => [...write(format, options), `${from}.raw`]],
      [`${name} to raw`, (from) => read(format, `${from}.${format}`)],
    ]) {
      // Several in a row, as only the same program finds the memory again that it left behind, in the pieces that it asks for.
      const several = (program) => () => {
        spawnSync("sync");
        const { wall: start } = burst(() => convert(program, args("small")), { runs: 2 });
        return { ...burst(() => convert(program, args("from")), { runs: 4, seconds: 8 }), start };
      };
      const { ours, theirs } = await paired(rounds, { ours: several(OURS), theirs: several(QEMU_IMG) }, quickest, {
        seconds: LONG,
        settled,
      });
      const [ourWork, theirWork] = [ours, theirs].map(({ wall, start }) => Math.max(0.001, wall - start));
      record({
        bench: "formats",
        name: what,
        unit: "s",
        ours: ours.wall,
        theirs: theirs.wall,
        ratio: ours.wall / theirs.wall,
        target: 1,
        note: `${size} MiB in ${tmpdir()}; without starting ${(ourWork / theirWork).toFixed(2)} × (${ourWork.toFixed(2)} s and ${theirWork.toFixed(2)} s); CPU ${ours.cpu.toFixed(2)} s and ${theirs.cpu.toFixed(2)} s; memory ${ours.memory.toFixed(0)} and ${theirs.memory.toFixed(0)} MiB`,
      });
    }
    for (const file of readdirSync(dir)) if (!file.endsWith(".raw")) rmSync(join(dir, file));
  }
});
