/** The drop-in `qemu-nbd`. */
import { nbdMain } from "./nbd/program.js";
import { runProgram } from "./process.js";

void runProgram("qemu-nbd", (argv, output, signal) =>
  nbdMain(argv, { program: "qemu-nbd", version: "7.2.0 (Blockcore)", output, signal }),
);
