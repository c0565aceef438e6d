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
  for (const program of ["qemu-img.js", "blockcore.js"]) {
    const done = spawnSync(
      process.execPath,
      ["--import", `data:text/javascript,${encodeURIComponent(TELL)}`, join("build/cli", program), "info", "-f", "raw", file],
      { encoding: "utf8" },
    );
    assert.is(done.status, 0, done.stderr);
    const loaded = new Set(JSON.parse(done.stderr.trim().split("\n").at(-1)!) as string[]);
    assert.ok(loaded.has("NativeModule fs"));
    assert.equal(
      LATE.filter((name) => loaded.has(`NativeModule ${name}`)),
      [],
      program,
    );
  }
});

test.run();
