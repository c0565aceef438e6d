/**
 * Saying honestly that a test could not run here.
 *
 * A test that needs something this machine lacks returns `skip("reason")`; the runner counts it as skipped and lists the
 * reason. With BLOCKCORE_NO_SKIP=1 (as in CI) a skip is a failure.
 */
interface SkipHook {
  __blockcoreSkip?: (reason: string) => void;
}

/** Marks the running test as skipped. Use as `return skip("qemu-img is not installed")`. */
export function skip(reason: string): void {
  const env = (globalThis as { process?: { env?: Record<string, string | undefined> } }).process?.env;
  if (env?.["BLOCKCORE_NO_SKIP"] === "1") throw new Error(`skipped, which is not allowed here: ${reason}`);
  const hook = (globalThis as SkipHook).__blockcoreSkip;
  if (hook) hook(reason);
  else console.log(`SKIP: ${reason}`);
}
