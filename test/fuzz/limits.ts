/** What may come of a damaged image: an answer or a BlockError, within bounds of time and memory. */
import * as assert from "uvu/assert";
import { setAllocationGate } from "../../src/base/allocate.js";
import { BlockError } from "../../src/base/error.js";

/** For everything that is done with one image. */
const MAX_CPU_SECONDS = 4;
const MAX_ALLOCATION = 128 << 20;

/** The result, or null for a BlockError with words; anything else thrown fails the test. */
export async function attempt<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof BlockError && error.message !== "") return null;
    throw error;
  }
}

/** Does the work; `story` is what a failure is reported with. */
export async function withinBounds(story: readonly string[], work: () => Promise<void>): Promise<void> {
  const began = process.cpuUsage();
  let allocated = 0;
  const before = setAllocationGate((length) => void (allocated = Math.max(allocated, length)));
  try {
    await work();
    const used = process.cpuUsage(began);
    const seconds = (used.user + used.system) / 1e6;
    assert.ok(seconds < MAX_CPU_SECONDS, `${seconds} s of CPU`);
    assert.ok(allocated <= MAX_ALLOCATION, `${allocated} bytes in one buffer`);
  } catch (error) {
    throw new Error(`${story.join("\n")}\n${(error as Error).stack ?? String(error)}`, { cause: error });
  } finally {
    setAllocationGate(before);
  }
}
