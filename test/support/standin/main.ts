/**
 * `qemu-system-x86_64` for QEMU's own block tests: the command line of the emulator for everything that block devices and monitors
 * are about, served by the library. There is no guest. For tests only.
 */
import { Output } from "../../../src/cli/output.js";
import { readCommandLine } from "./command-line.js";
import { Emulator } from "./emulator.js";

const program = "qemu-system-x86_64";
const output = new Output({ program, stdout: process.stdout, stderr: process.stderr, env: process.env });

async function main(): Promise<void> {
  try {
    const emulator = new Emulator(readCommandLine(process.argv.slice(2)), output);
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => emulator.shutDown("host-signal"));
    process.exitCode = await emulator.run();
  } catch (error) {
    process.stderr.write(`${program}: ${(error as Error).message}\n`);
    process.exitCode = 1;
  }
  // Nothing that is still open keeps the machine; answers on their way get there.
  setTimeout(() => process.exit(), 3000).unref();
}
void main();
