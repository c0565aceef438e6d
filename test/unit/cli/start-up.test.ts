/** What the programs do not load before they need it: each of these takes as long as a short command does in all. */
import { spawnSync } from "node:child_process";
import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { tempPath } from "../../support/temp.js";

const LATE = ["crypto", "zlib", "tls", "http", "https", "child_process", "worker_threads", "readline"];
const TELL = "process.on('exit', () => process.stderr.write(JSON.stringify(process.moduleLoadList)))";

test("info of a raw image loads nothing for keys, compression or networks", () => {
  const file = tempPath("disk.raw");
  writeFileSync(file, "");
  truncateSync(file, 1 << 20);
  const tell = tempPath("tell.cjs");
  writeFileSync(tell, TELL);
  const loadedBy = (...command: string[]): string[] => {
    const done = spawnSync(process.execPath, ["--require", tell, ...command], { encoding: "utf8" });
    assert.is(done.status, 0, done.stderr);
    const loaded = new Set(JSON.parse(done.stderr) as string[]);
    assert.ok(loaded.has("NativeModule fs"));
    return LATE.filter((name) => loaded.has(`NativeModule ${name}`));
  };
  for (const program of ["qemu-img.js", "blockcore.js"])
    assert.equal(loadedBy(join("build/cli", program), "info", "-f", "raw", file), [], program);
});

test.run();
