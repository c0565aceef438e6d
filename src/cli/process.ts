/** Runs a command line program in this process: its streams, its exit code, and interrupts. */
import { Output } from "./output.js";

/** `main` gets the arguments, the printer, and a signal that fires at SIGINT or SIGTERM (a second one ends the process at once). */
export async function runProgram(
  program: string,
  main: (argv: string[], output: Output, signal: AbortSignal) => Promise<number>,
): Promise<void> {
  const output = new Output({
    program,
    env: process.env,
    // Made when something is to be said: a command without words does not need them, and Node.js takes its time to make them.
    get stdout() {
      return process.stdout;
    },
    get stderr() {
      return process.stderr;
    },
  });
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
