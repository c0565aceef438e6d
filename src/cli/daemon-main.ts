/** The drop-in `qemu-storage-daemon`. */
import { daemonMain } from "./daemon/program.js";
import { runProgram } from "./process.js";

void runProgram("qemu-storage-daemon", (argv, output, signal) =>
  daemonMain(argv, { program: "qemu-storage-daemon", version: "7.2.0 (Blockcore)", output, signal }),
);
