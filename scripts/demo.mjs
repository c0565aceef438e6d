// npm run demo: makes a small chain of images in a temporary directory and shows what the command line does with it.
// Everything runs through the programs that were built; nothing is left behind.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "./lib/proc.mjs";
import { setupAndBuild } from "./setup.mjs";

const MiB = 1024 * 1024;
const DISK = 64 * MiB;
const colours = process.stdout.isTTY && !process.env.NO_COLOR;
const paint = (code) => (text) => (colours ? `\x1b[${code}m${text}\x1b[0m` : text);
const [bold, dim, green, cyan, yellow, blue] = ["1", "2", "32", "36", "33", "34"].map(paint);

const programs = { blockcore: join(root, "build/cli.js"), "qemu-io": join(root, "build/qemu/qemu-io") };
let dir = "";
let step = 0;
let spent = 0;

function title(text, why) {
  console.log(`\n${bold(`${++step}. ${text}`)}\n   ${dim(why)}`);
}

/** Shows a command line, runs it, returns what it printed. `expect` is the exit status it must have. */
function run(program, args, { expect = 0, quiet = false, indent = true } = {}) {
  const words = args.map((arg) => (/[^\w./=,:-]/.test(arg) ? `"${arg}"` : arg)).join(" ");
  if (!quiet) console.log(`   ${cyan(`$ ${program} ${words}`)}`);
  const start = performance.now();
  const done = spawnSync(process.execPath, [programs[program], ...args], { cwd: dir, encoding: "utf8" });
  const ms = performance.now() - start;
  spent += ms;
  const output = `${done.stdout}${done.stderr}`.trimEnd();
  if (done.status !== expect) throw new Error(`${program} ${words} ended with status ${done.status}\n${output}`);
  if (!quiet && indent && output !== "") console.log(output.replace(/^/gm, "   "));
  if (!quiet) console.log(dim(`   (${ms.toFixed(0)} ms)`));
  return done.stdout;
}

const sizeOf = (name) => `${(statSync(join(dir, name)).size / MiB).toFixed(1)} MiB`;

/** A disk as an installer might leave it: text-like data, something that does not compress, and a lot of nothing. */
function makeDisk(file) {
  const bytes = new Uint8Array(DISK);
  let state = 12345;
  const noise = () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 24;
  const line = new TextEncoder().encode("A disk image is a file that thinks it is a disk. ");
  for (let at = 0; at < 6 * MiB; at++) bytes[at] = line[at % line.length];
  for (let at = 20 * MiB; at < 24 * MiB; at++) bytes[at] = noise();
  for (let at = 40 * MiB; at < 45 * MiB; at++) bytes[at] = 65 + ((at >> 12) % 26);
  writeFileSync(join(dir, file), bytes);
}

/** What `map` says, drawn: each character is half a MiB of the disk. */
function draw(entries) {
  const CELL = MiB / 2;
  const kinds = {
    top: ["█", green, "written in the overlay"],
    base: ["▓", blue, "read from the backing file (compressed there)"],
    zero: ["0", yellow, "zeros that the overlay says are zeros"],
    hole: ["·", dim, "nothing anywhere: reads as zeros, takes no space"],
  };
  const kindOf = (entry) =>
    entry.data ? (entry.depth === 0 ? "top" : "base") : entry.depth === 0 && entry.present ? "zero" : "hole";
  const rank = ["hole", "base", "zero", "top"];
  const cells = new Array(Math.ceil(DISK / CELL)).fill("hole");
  for (const entry of entries) {
    const kind = kindOf(entry);
    for (let cell = Math.floor(entry.start / CELL); cell < Math.ceil((entry.start + entry.length) / CELL); cell++)
      if (rank.indexOf(kind) > rank.indexOf(cells[cell])) cells[cell] = kind;
  }
  const PER_ROW = 64;
  for (let row = 0; row * PER_ROW < cells.length; row++) {
    const text = cells.slice(row * PER_ROW, (row + 1) * PER_ROW).map((kind) => kinds[kind][1](kinds[kind][0]));
    console.log(`   ${dim(`${String((row * PER_ROW * CELL) / MiB).padStart(3)} MiB`)} ${text.join("")}`);
  }
  for (const [symbol, colour, meaning] of Object.values(kinds)) console.log(`   ${colour(symbol)} ${dim(meaning)}`);
}

function show() {
  console.log(bold("Blockcore: disk images without QEMU installed, in plain Node.js"));

  title("A disk becomes a compressed qcow2 image", "64 MiB of disk; text, noise and holes. Compression runs on all cores.");
  makeDisk("disk.raw");
  run("blockcore", ["convert", "-f", "raw", "-O", "qcow2", "-c", "disk.raw", "base.qcow2"]);
  console.log(`   disk.raw ${sizeOf("disk.raw")} ${dim("→")} base.qcow2 ${green(sizeOf("base.qcow2"))}`);

  title("An overlay: changes go on top, the base stays as it is", "The usual way to run many machines from one installation.");
  run("blockcore", ["create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "work.qcow2"]);
  run("qemu-io", ["-c", "write -P 0x42 1M 2M", "-c", "write -z 21M 2M", "-c", "write -P 0x17 50M 3M", "work.qcow2"]);

  title("What is it?", "info answers as qemu-img does, --output=json included.");
  run("blockcore", ["info", "--backing-chain", "work.qcow2"]);

  title("Where is the data?", "map walks the whole chain; this is its JSON, drawn.");
  draw(JSON.parse(run("blockcore", ["map", "--output=json", "work.qcow2"], { indent: false })));

  title("Is it sound?", "check counts every cluster and compares with the image's own books.");
  run("blockcore", ["check", "work.qcow2"]);

  title("Everything into one file", "The chain is flattened: what the guest sees, no backing file needed.");
  run("blockcore", ["convert", "-O", "qcow2", "work.qcow2", "flat.qcow2"]);
  run("blockcore", ["compare", "work.qcow2", "flat.qcow2"]);

  title("And when somebody touches a byte?", "One byte of the copy is changed; compare finds the place and ends with status 1.");
  run("qemu-io", ["-c", "write -P 0xff 0x1400123 1", "flat.qcow2"], { quiet: true });
  run("blockcore", ["compare", "work.qcow2", "flat.qcow2"], { expect: 1 });

  title(
    "Images can be hostile",
    "A header that claims a table of 32 GiB is an error message, not a crash and not an allocation.",
  );
  const bytes = readFileSync(join(dir, "work.qcow2"));
  bytes.writeUInt32BE(0xffffffff, 36);
  writeFileSync(join(dir, "hostile.qcow2"), bytes);
  run("blockcore", ["info", "hostile.qcow2"], { expect: 1 });

  console.log(
    `\n${green("✔")} ${bold("All of it worked")} ${dim(`(${(spent / 1000).toFixed(1)} s in ${step} steps; the temporary files are gone)`)}`,
  );
  console.log(`
${bold("What to try next")}
   node build/cli.js info <your image>              ${dim("any of: qcow2, raw, vmdk, vdi, vhd, parallels, dmg …")}
   node build/cli.js convert -p -O raw <image> out  ${dim("with a progress bar")}
   node build/cli.js --help                         ${dim("every command; the options are qemu-img's")}
   build/qemu/qemu-img …                            ${dim("the same under the name your scripts know")}
   examples/                                        ${dim("the library: Node, web page, worker, edge")}
   npm test                                         ${dim("everything the tests know")}`);
}

try {
  setupAndBuild();
  dir = mkdtempSync(join(tmpdir(), "blockcore-demo-"));
  show();
} catch (error) {
  console.error(`\nThe demo failed: ${error.message}`);
  process.exitCode = 1;
} finally {
  if (dir !== "") rmSync(dir, { recursive: true, force: true });
}
