/** `blockcore <verb>`: the verbs of qemu-img with help by example, and the two servers, `blockcore nbd` and `blockcore daemon`. */
import { imgMain } from "./img/program.js";
import type { Output } from "./output.js";
import { runProgram } from "./process.js";

const VERSION = "0.1.0";

type Server = (
  argv: string[],
  program: { program: string; version: string; output: Output; signal: AbortSignal },
) => Promise<number>;

/** Loaded when asked for: a short command does not wait for a server's code. */
const SERVERS: Readonly<Record<string, () => Promise<Server>>> = {
  nbd: async () => (await import("./nbd/program.js")).nbdMain,
  daemon: async () => (await import("./daemon/program.js")).daemonMain,
};
const SUMMARY = [
  "  nbd       serve an image over NBD until its last client has gone, or list what a server exports: the options of qemu-nbd",
  "  daemon    serve nodes, exports and QMP monitors until told to quit: the options of qemu-storage-daemon",
];

const [verb, ...rest] = process.argv.slice(2);
const server = verb === undefined || !Object.hasOwn(SERVERS, verb) ? undefined : SERVERS[verb];
const program = server === undefined ? "blockcore" : `blockcore ${verb}`;

void runProgram(program, async (argv, output, signal) => {
  if (server !== undefined) return (await server())(rest, { program, version: VERSION, output, signal });
  return imgMain(argv, { program, version: VERSION, friendly: true, more: SUMMARY, output, signal });
});
