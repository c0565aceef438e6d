/** The code that programs keep for their next run: where it lies, who is trusted with it, and that it never does harm. */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { cacheDirectory, readCode, writeCode } from "../../../src/cli/code-cache.js";
import { tempPath } from "../../support/temp.js";

const CODE = Buffer.from("what V8 made of a program");

test("the directory: the user's own for caches, Node's variables first", () => {
  const home = { HOME: "/home/me" };
  assert.is(cacheDirectory(home, "linux"), "/home/me/.cache/blockcore");
  assert.is(cacheDirectory({ ...home, XDG_CACHE_HOME: "/var/me" }, "linux"), "/var/me/blockcore");
  assert.is(cacheDirectory(home, "darwin"), "/home/me/Library/Caches/blockcore");
  assert.is(cacheDirectory({ NODE_COMPILE_CACHE: "/else" }, "linux"), "/else");
  assert.is(cacheDirectory({ ...home, NODE_DISABLE_COMPILE_CACHE: "1" }, "linux"), null);
  for (const platform of ["linux", "darwin", "win32"]) assert.is(cacheDirectory({}, platform), null);
});

test("what was kept comes back, whole, for its owner only", () => {
  const directory = tempPath("caches/deep");
  assert.is(readCode(directory, "a"), undefined);
  writeCode(directory, "a", CODE);
  assert.ok(readCode(directory, "a")!.equals(CODE));
  assert.is(statSync(directory).mode & 0o077, 0);
  assert.is(statSync(join(directory, "a.v8")).mode & 0o077, 0);
  assert.equal(readdirSync(directory), ["a.v8"]);
});

test("damaged, cut and empty files are nothing", () => {
  const directory = tempPath("damaged");
  writeCode(directory, "a", CODE);
  const good = readFileSync(join(directory, "a.v8"));
  for (let at = 0; at < good.length; at++) {
    const bad = Buffer.from(good);
    bad[at]! ^= 1 << (at % 8);
    writeFileSync(join(directory, "a.v8"), bad);
    assert.is(readCode(directory, "a"), undefined, `byte ${at}`);
    writeFileSync(join(directory, "a.v8"), good.subarray(0, at));
    assert.is(readCode(directory, "a"), undefined, `${at} bytes`);
  }
});

test("a directory that others may write to is left alone", () => {
  const directory = tempPath("open");
  writeCode(directory, "a", CODE);
  chmodSync(directory, 0o777);
  assert.is(readCode(directory, "a"), undefined);
  writeCode(directory, "b", CODE);
  assert.not.ok(existsSync(join(directory, "b.v8")));
});

test("where nothing can be written, nothing happens", () => {
  const file = tempPath("file");
  writeFileSync(file, "");
  writeCode(join(file, "below"), "a", CODE);
  assert.is(readCode(join(file, "below"), "a"), undefined);
});

test("the oldest files go when there are too many", () => {
  const directory = tempPath("many");
  mkdirSync(directory, { mode: 0o700 });
  for (let i = 0; i < 64; i++) {
    writeFileSync(join(directory, `${i}.v8`), "");
    utimesSync(join(directory, `${i}.v8`), 1000 + i, 1000 + i);
  }
  writeFileSync(join(directory, "not-ours"), "");
  writeCode(directory, "new", CODE);
  const left = new Set(readdirSync(directory));
  assert.is(left.size, 65);
  assert.ok(left.has("new.v8") && left.has("not-ours") && left.has("1.v8") && !left.has("0.v8"));
});

test("a program keeps its code when it succeeds, by verb, and runs the same with it, without it, and with a damaged one", () => {
  const directory = tempPath("program");
  const image = tempPath("image.raw");
  writeFileSync(image, new Uint8Array(4096));
  const run = (args: string[], env: Record<string, string> = {}) =>
    spawnSync(process.execPath, ["build/qemu/qemu-img", ...args], {
      encoding: "utf8",
      env: { ...process.env, NODE_COMPILE_CACHE: directory, NODE_DISABLE_COMPILE_CACHE: "", ...env },
    });
  const info = ["info", "-f", "raw", image];
  const without = run(info, { NODE_DISABLE_COMPILE_CACHE: "1" });
  assert.is(without.status, 0, without.stderr);
  assert.not.ok(existsSync(directory));
  assert.is(run(["info", "-f", "raw", `${image}.absent`]).status, 1);
  assert.not.ok(existsSync(directory));
  const same = () => {
    const done = run(info);
    assert.is(done.status, 0, done.stderr);
    assert.is(done.stdout, without.stdout);
    assert.is(done.stderr, "");
  };
  same();
  const [name] = readdirSync(directory);
  assert.match(name!, /^qemu-img-info-[0-9a-f]{16}-[0-9a-f]+\.v8$/);
  const file = join(directory, name!);
  const kept = readFileSync(file);
  const { mtimeMs } = statSync(file);
  same();
  assert.is(statSync(file).mtimeMs, mtimeMs);
  const damaged = Buffer.from(kept);
  damaged.fill(0, kept.length >> 1, (kept.length >> 1) + 4096);
  writeFileSync(file, damaged);
  same();
  assert.is(readFileSync(file).length > 0 && !readFileSync(file).equals(damaged), true);
});

test.run();
