/** Runs a command line program in this process: its streams, its exit code, and interrupts. */
import { setFlagsFromString } from "node:v8";
import { Output } from "./output.js";

/**
 * Commands run for less than a second, much of it inside the kernel: compiling what runs a few thousand times costs them more than
 * it saves (half of all CPU time of a copy). What is really hot still gets compiled, a little later. Unknown flags are ignored.
 */
const PATIENT_COMPILER = "--interrupt-budget=1000000";

/** `main` gets the arguments, the printer, and a signal that fires at SIGINT or SIGTERM (a second one ends the process at once). */
export async function runProgram(
  program: string,
  main: (argv: string[], output: Output, signal: AbortSignal) => Promise<number>,
): Promise<void> {
  setFlagsFromString(PATIENT_COMPILER);
  const output = new Output({ program, stdout: process.stdout, stderr: process.stderr, env: process.env });
  const controller = new AbortController();
  const stop = (): void => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort();
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  process.exitCode = await main(process.argv.slice(2), output, controller.signal);
  process.off("SIGINT", stop);
  process.off("SIGTERM", stop);
}
