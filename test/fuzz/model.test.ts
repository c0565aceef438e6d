// time-limit: 240 s
/**
 * Random sequences of operations against a flat model, in each way of driving Ops.
 *
 * SEED=n starts at another seed, BLOCKCORE_SEEDS=n runs that many sequences in each mode. To repeat one failure: SEED=<its seed>
 * BLOCKCORE_SEEDS=1.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import { hasQemu } from "../support/qemu.js";
import { chooseSeed } from "../support/random.js";
import { tempPath } from "../support/temp.js";
import { MODES } from "../support/world.js";
import { runSequence, type SequenceResult } from "./sequence.js";

const seeds = Number(process.env["BLOCKCORE_SEEDS"] ?? 170);
const first = chooseSeed();
/** Every which sequence the real qemu-img judges as well. */
const JUDGE_EVERY = Number(process.env["BLOCKCORE_JUDGE_EVERY"] ?? 15);

/** The real qemu-img finds the image clean and its content equal to the model. */
function judge(result: SequenceResult): void {
  const folder = tempPath(`seed-${result.seed}`);
  mkdirSync(folder);
  for (const [name] of result.world.files) writeFileSync(join(folder, name), result.world.bytes(name));
  writeFileSync(join(folder, "model"), result.model);
  const run = (...args: string[]): void => {
    try {
      execFileSync("qemu-img", args, { cwd: folder, stdio: "pipe" });
    } catch (error) {
      const { stdout, stderr } = error as { stdout: Buffer; stderr: Buffer };
      throw new Error(`seed ${result.seed}: qemu-img ${args.join(" ")}: ${stdout}${stderr}\n${result.description}`, {
        cause: error,
      });
    }
  };
  if (result.format !== "raw") run("check", "-q", "-f", result.format, "top");
  // A raw file ends where the guest does; qemu-img looks at whole sectors.
  run("compare", "-q", "-f", result.format, "-F", "raw", "top", "model");
}

for (const mode of MODES) {
  test(`${seeds} random sequences, ${mode}, from seed ${first}`, async () => {
    console.log(`SEED=${first} (${mode}, ${seeds} sequences)`);
    for (let i = 0; i < seeds; i++) {
      const result = await runSequence(first + i, mode);
      if (hasQemu && i % JUDGE_EVERY === 0) judge(result);
    }
  });
}

test.run();
