// time-limit: 300 s
/** Our qemu-img and the real one, side by side: output, messages, exit codes and what is left on the disk. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { skip } from "../support/skip.js";
import { COMMANDS, EXEMPT } from "./img-commands.js";

const OURS = resolve("build/qemu/qemu-img");
const real = spawnSync("qemu-img", ["--version"], { encoding: "utf8" });
const isReference = real.status === 0 && /version 7\.2\./.test(real.stdout);

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

function perform(program: string, command: string, cwd: string): { code: number | null; stdout: string; stderr: string } {
  const line = command.startsWith("!") ? command.slice(1) : `${program} ${command}`;
  let done = spawnSync("sh", ["-c", line], { cwd, encoding: "utf8", timeout: 60_000 });
  // Key derivation of QEMU 7.2 fails now and then on a busy machine.
  for (let again = 0; again < 20 && done.stderr.includes("accurate CPU usage"); again++)
    done = spawnSync("sh", ["-c", line], { cwd, encoding: "utf8", timeout: 60_000 });
  return { code: done.status, stdout: normal(done.stdout), stderr: normal(done.stderr) };
}

for (const { name, commands } of COMMANDS) {
  test(name, () => {
    if (!isReference) return skip("qemu-img 7.2 is not installed");
    if (!existsSync(OURS)) return skip("build/qemu/qemu-img is not built");
    const theirs = mkdtempSync(join(tmpdir(), "img-real-"));
    const ours = mkdtempSync(join(tmpdir(), "img-ours-"));
    const different: string[] = [];
    try {
      for (const command of commands) {
        const expected = perform("qemu-img", command, theirs);
        const got = perform(OURS, command, ours);
        if (command in EXEMPT) continue;
        if (JSON.stringify(got) !== JSON.stringify(expected))
          different.push(`${command}\n  real: ${JSON.stringify(expected)}\n  ours: ${JSON.stringify(got)}`);
      }
    } finally {
      rmSync(theirs, { recursive: true, force: true });
      rmSync(ours, { recursive: true, force: true });
    }
    assert.is(different.join("\n"), "");
  });
}

test.run();
