/** The `qemu-io` program. */
import { ioEnvironment } from "./io/environment.js";
import { processOutput, stdinLines } from "./io/process.js";
import { ioMain } from "./io/program.js";

process.exitCode = await ioMain(process.argv.slice(2), {
  name: "qemu-io",
  version: "7.2.0 (Blockcore)",
  output: processOutput(),
  readLine: stdinLines(),
  environment: ioEnvironment,
});
