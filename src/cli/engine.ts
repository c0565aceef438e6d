/** V8 set up for what a program is: a command that is over soon, or a server that runs for long. */
import { setFlagsFromString } from "node:v8";

/** Other engines have no such flags, though some give a version of V8. */
const IS_NODE = !("bun" in process.versions || "deno" in process.versions);
/** Later versions of V8 (they have a quick compiler in between) do not know this flag, and say so on the standard error. */
const KNOWS_BUDGET = IS_NODE && (process.versions["v8"]?.startsWith("11.") ?? false);

/**
 * Commands run for less than a second, much of it inside the kernel: compiling what runs a few thousand times costs them more than
 * it saves (half of all CPU time of a copy). What is really hot still gets compiled, a little later.
 */
export function compileLate(): void {
  if (KNOWS_BUDGET) setFlagsFromString("--interrupt-budget=1000000");
}

/** Servers have their code compiled after some hundred requests; V8's own budget (67584) takes thousands. */
export function compileSoon(): void {
  if (KNOWS_BUDGET) setFlagsFromString("--interrupt-budget=20000");
}

/**
 * Keeps V8's young generation about as small as it is at the start, 2 MiB: it would grow to 32 MiB of garbage under clients that
 * ask a lot, and is emptied late on a busy machine. Costs some percent of the processor time of large transfers.
 */
export function keepHeapSmall(): void {
  if (IS_NODE) setFlagsFromString("--semi-space-growth-factor=1");
}
