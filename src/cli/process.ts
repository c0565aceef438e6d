/** Runs a command line program in this process: its streams, its exit code, and interrupts. */
import { Output } from "./output.js";

/** `main` gets the arguments, the printer, and a signal that fires at SIGINT or SIGTERM (a second one ends the process at once). */
export async function runProgram(
  program: string,
  main: (argv: string[], output: Output, signal: AbortSignal) => Promise<number>,
): Promise<void> {
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
