// time-limit: 600 s
/** Our qemu-img and the real one, side by side: output, messages, exit codes and what is left on the disk. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { imgMain } from "../../src/cli/img/program.js";
import { Output } from "../../src/cli/output.js";
import { skip } from "../support/skip.js";
import { COMMANDS, EXEMPT } from "./img-commands.js";

const real = spawnSync("qemu-img", ["--version"], { encoding: "utf8" });
const isReference = real.status === 0 && /version 7\.2\./.test(real.stdout);

interface Seen {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** What depends on time and place, and on how the file system counts blocks. */
function normal(text: string): string {
  return text
    .replace(/20\d\d-\d\d-\d\d \d\d:\d\d:\d\d/g, "DATE")
    .replace(/"date-(n?sec)": \d+/g, '"date-$1": N')
    .replace(/Run completed in .* seconds/g, "Run completed")
    .replace(/disk size: .*/g, "disk size: X")
    .replace(/"actual-size": \d+/g, '"actual-size": N')
    .replace(/#block\d+/g, "#blockN")
    .replace(/\bcid: \d+/g, "cid: N")
    .replace(/"(parent-)?cid": \d+/g, '"$1cid": N')
    .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "UUID")
    .replace(/(iters|stripes): \d+/g, "$1: N")
    .replace(/"(iters|stripes)": \d+/g, '"$1": N');
}

/** A line for the shell, in a folder. */
function shell(line: string, cwd: string): Seen {
  const { status, stdout, stderr } = spawnSync("sh", ["-c", line], { cwd, encoding: "utf8", timeout: 60_000 });
  return { code: status, stdout: normal(stdout), stderr: normal(stderr) };
}

function theirs(command: string, cwd: string): Seen {
  for (let again = 0; ; again++) {
    const seen = shell(command.startsWith("!") ? command.slice(1) : `qemu-img ${command}`, cwd);
    // Key derivation of QEMU 7.2 fails now and then on a busy machine.
    if (again >= 20 || !seen.stderr.includes("accurate CPU usage")) return seen;
  }
}

/** Our program, in this process: starting Node.js for each of hundreds of lines would be most of the time. */
async function ours(command: string, cwd: string): Promise<Seen> {
  if (command.startsWith("!")) return shell(command.slice(1), cwd);
  const argv = command === "" ? "" : spawnSync("sh", ["-c", `printf '%s\\0' ${command}`], { encoding: "utf8" }).stdout;
  const text = { stdout: "", stderr: "" };
  const sink = (name: keyof typeof text): Writable =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        text[name] += chunk.toString();
        done();
      },
    });
  const output = new Output({ program: "qemu-img", stdout: sink("stdout"), stderr: sink("stderr") });
  const home = process.cwd();
  process.chdir(cwd);
  try {
    const code = await imgMain(argv.split("\0").slice(0, -1), {
      program: "qemu-img",
      version: "test",
      friendly: false,
      output,
      signal: new AbortController().signal,
    });
    return { code, stdout: normal(text.stdout), stderr: normal(text.stderr) };
  } finally {
    process.chdir(home);
  }
}

/** What this process has open in a folder, where the platform tells (Linux). */
function openFiles(folder: string): string[] {
  const found: string[] = [];
  for (const fd of existsSync("/proc/self/fd") ? readdirSync("/proc/self/fd") : []) {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      if (path.startsWith(`${folder}/`)) found.push(path.slice(folder.length + 1));
    } catch {
      // Closed since.
    }
  }
  return found;
}

for (const { name, commands } of COMMANDS) {
  test(name, async () => {
    if (!isReference) return skip("qemu-img 7.2 is not installed");
    const folders = ["real", "ours"].map((who) => mkdtempSync(join(tmpdir(), `img-${who}-`)));
    const different: string[] = [];
    try {
      for (const command of commands) {
        const expected = theirs(command, folders[0]!);
        const got = await ours(command, folders[1]!);
        for (const path of openFiles(folders[1]!)) different.push(`${command}\n  leaves '${path}' open`);
        if (command in EXEMPT) continue;
        if (JSON.stringify(got) !== JSON.stringify(expected))
          different.push(`${command}\n  real: ${JSON.stringify(expected)}\n  ours: ${JSON.stringify(got)}`);
      }
    } finally {
      for (const folder of folders) rmSync(folder, { recursive: true, force: true });
    }
    assert.is(different.join("\n"), "");
  });
}

test.run();
