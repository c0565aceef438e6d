/** Memory of programs that run for long and mostly wait. */
import { setFlagsFromString } from "node:v8";

/**
 * Keeps V8's young generation about as small as it is at the start, 2 MiB: it would grow to 32 MiB of garbage under clients that
 * ask a lot, and is emptied late on a busy machine. Costs some percent of the processor time of large transfers.
 */
export function keepHeapSmall(): void {
  // Other engines have no such flags.
  if (!("bun" in process.versions || "deno" in process.versions)) setFlagsFromString("--semi-space-growth-factor=1");
}
