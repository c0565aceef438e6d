/** The drop-in `qemu-io`. */
import { cliEnvironment } from "./environment.js";
import { processOutput, stdinLines } from "./io/process.js";
import { ioMain } from "./io/program.js";

const name = "qemu-io";
const output = processOutput();
void ioMain(process.argv.slice(2), {
  name,
  version: "7.2.0 (Blockcore)",
  output,
  readLine: stdinLines(),
  environment: (objects) =>
    cliEnvironment({
      objects,
      warn: (message) => output.writeError(`${message}\n`),
      debugMessage: (message) => output.write(`${message}\n`),
      flush: () => output.flush(),
    }),
}).then((code) => {
  process.exitCode = code;
});
