// time-limit: 300 s
/** kill -9 at random moments on a real file system: what was flushed is there, every later sector is old or new. */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { chooseSeed, random, type Random } from "../support/random.js";
import { skip } from "../support/skip.js";

const SIZE = 2 * 1024 * 1024;
const SECTOR = 512;
const KILLS = Number(process.env["BLOCKCORE_KILLS"] ?? 8);
const QEMU_IO = join(process.cwd(), "build/qemu/qemu-io");

/** What a sector may hold: a fill byte, or anything (under an unflushed discard). */
type Value = number | "any";

class Model {
  readonly stable: Value[] = new Array<Value>(SIZE / SECTOR).fill(0);
  /** Values written since the last flush that was acknowledged. */
  pending = new Map<number, Set<Value>>();
  readonly current: Value[] = [...this.stable];

  change(offset: number, length: number, value: Value): void {
    for (let at = offset / SECTOR; at < (offset + length) / SECTOR; at++) {
      let values = this.pending.get(at);
      if (values === undefined) this.pending.set(at, (values = new Set()));
      values.add(value);
      this.current[at] = value;
    }
  }
  flushed(): void {
    for (const at of this.pending.keys()) this.stable[at] = this.current[at]!;
    this.pending = new Map();
  }
  /** Takes over what a crash left; says what it may not have left. */
  adopt(bytes: Uint8Array): string[] {
    const wrong: string[] = [];
    for (let at = 0; at < this.stable.length; at++) {
      const sector = bytes.subarray(at * SECTOR, (at + 1) * SECTOR);
      const fill = sector.every((byte) => byte === sector[0]) ? sector[0]! : -1;
      const allowed = new Set<Value>([this.stable[at]!, ...(this.pending.get(at) ?? [])]);
      if (!allowed.has("any") && !allowed.has(fill)) wrong.push(`sector ${at} holds ${fill}, allowed ${[...allowed].join(", ")}`);
      this.stable[at] = this.current[at] = fill < 0 ? "any" : fill;
    }
    this.pending = new Map();
    return wrong;
  }
}

/** One session that is killed `delay` ms after its first prompt. Returns the number of acknowledged commands. */
function session(image: string, model: Model, chance: Random, delay: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(QEMU_IO, ["-t", "writeback", "-d", "unmap", "-f", "qcow2", image], { stdio: ["pipe", "pipe", "pipe"] });
    let said = "";
    let acked = 0;
    let waiting: "flush" | "other" | null = null;
    let first = true;
    const next = (): void => {
      if (waiting === "flush") model.flushed();
      if (waiting !== null) acked++;
      const kind = chance.pick(["write", "write", "write", "zero", "discard", "flush"] as const);
      const length = chance.pick([512, 1024, 4096, 8192, 20480, 65536]);
      const offset = chance.int((SIZE - length) / SECTOR) * SECTOR;
      waiting = kind === "flush" ? "flush" : "other";
      if (kind === "flush") child.stdin.write("flush\n");
      else if (kind === "write") {
        const value = 1 + chance.int(254);
        model.change(offset, length, value);
        child.stdin.write(`write -q -P ${value} ${offset} ${length}\n`);
      } else if (kind === "zero") {
        model.change(offset, length, 0);
        child.stdin.write(`write -q -z ${chance.chance(0.5) ? "-u " : ""}${offset} ${length}\n`);
      } else {
        model.change(offset, length, "any");
        child.stdin.write(`discard -q ${offset} ${length}\n`);
      }
    };
    child.stdin.on("error", () => {});
    child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
    child.stdout.on("data", (chunk: Buffer) => {
      for (let prompts = chunk.toString().split("qemu-io> ").length - 1; prompts > 0; prompts--) {
        if (first) setTimeout(() => child.kill("SIGKILL"), delay);
        first = false;
        next();
      }
    });
    child.on("exit", (code, signal) => {
      if (signal === "SIGKILL") resolve(acked);
      else reject(new Error(`qemu-io ended by itself (${code}): ${said}`));
    });
  });
}

for (const options of [
  "cluster_size=4096",
  "cluster_size=512",
  "cluster_size=65536,lazy_refcounts=on",
  "cluster_size=16384,extended_l2=on",
]) {
  test(`kill -9: ${options}`, async () => {
    if (spawnSync("qemu-img", ["--version"]).status !== 0) return skip("qemu-utils is not installed");
    const dir = mkdtempSync(join(tmpdir(), "blockcore-kill-"));
    try {
      const seed = chooseSeed();
      const chance = random(seed);
      const image = join(dir, "i.qcow2");
      const qemu = (...args: string[]): ReturnType<typeof spawnSync> => spawnSync("qemu-img", args, { encoding: "utf8" });
      assert.is(qemu("create", "-q", "-f", "qcow2", "-o", options, image, String(SIZE)).status, 0);
      const model = new Model();
      let acked = 0;
      let repaired = 0;
      for (let kill = 0; kill < KILLS; kill++) {
        acked += await session(image, model, chance, 5 + chance.int(80));
        // Leaks (3) are what a crash may leave; a dirty image is repaired first.
        let check = qemu("check", "-f", "qcow2", image);
        if (check.status === 2 && options.includes("lazy")) {
          repaired++;
          qemu("check", "-q", "-r", "all", "-f", "qcow2", image);
          check = qemu("check", "-f", "qcow2", image);
        }
        assert.ok(
          check.status === 0 || check.status === 3,
          `SEED=${seed} kill ${kill}: check says ${check.status}: ${String(check.stdout)}${String(check.stderr)}`,
        );
        const out = join(dir, "out.raw");
        assert.is(qemu("convert", "-f", "qcow2", "-O", "raw", "-U", image, out).status, 0);
        assert.equal(model.adopt(readFileSync(out)).slice(0, 5), [], `SEED=${seed} kill ${kill}`);
      }
      console.log(`${options}: SEED=${seed} kills ${KILLS} acknowledged ${acked} repaired ${repaired}`);
      assert.ok(acked > 0, "no command was acknowledged before a kill: the test shows nothing");
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
}

test.run();
