/** What is to fail: the error, or what it says. Where nothing fails, or something that is no error of ours, the test does. */
import * as assert from "uvu/assert";
import { BlockError } from "../../src/base/error.js";

export async function refused(work: Promise<unknown>): Promise<BlockError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof BlockError) return error;
    throw error;
  }
  return assert.unreachable("nothing was refused") as never;
}

export async function refusal(work: Promise<unknown>): Promise<string> {
  return (await refused(work)).message;
}
