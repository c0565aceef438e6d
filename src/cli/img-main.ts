/** The drop-in `qemu-img`. */
import { imgMain } from "./img/program.js";
import { runProgram } from "./process.js";

void runProgram("qemu-img", (argv, output, signal) =>
  imgMain(argv, { program: "qemu-img", version: "7.2.0 (Blockcore)", friendly: false, output, signal }),
);
