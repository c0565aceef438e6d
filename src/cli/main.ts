/** `blockcore <verb>`: the same verbs as qemu-img, with help by example. */
import { imgMain } from "./img/program.js";
import { runProgram } from "./process.js";

await runProgram("blockcore", (argv, output, signal) =>
  imgMain(argv, { program: "blockcore", version: "0.1.0", friendly: true, output, signal }),
);
