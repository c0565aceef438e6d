/**
 * The qemu-io program: its command line, then commands from -c or from standard input.
 *
 * Exit status: 0, or 1 when the image could not be opened, an option was wrong, or a command failed.
 */
import { toBlockError } from "../../base/error.js";
import type { Environment } from "../../block/context.js";
import { getopt, UsageError, type OptionSpec } from "../options.js";
import { runLine } from "../../image/io/command.js";
import { addOptions } from "../../image/io/option-words.js";
import type { IoOutput } from "../../image/io/session.js";
import { programCommands } from "./commands.js";
import { applyOpenOption, newRequest, openSession, reopenSession } from "./opening.js";
import { readBeginning } from "./pattern-file.js";
import { ProgramSession } from "./session.js";

export interface IoProgram {
  /** What messages and the prompt call the program. */
  readonly name: string;
  readonly version: string;
  readonly output: IoOutput;
  /** The next line of standard input without its end; null at the end. */
  readonly readLine: () => Promise<string | null>;
  /** Made once the command line is known; `objects` are the values of --object. */
  readonly environment: (objects: readonly string[]) => Environment | Promise<Environment>;
}

const OPTIONS: readonly OptionSpec[] = [
  { name: "h", short: "h", long: "help" },
  { name: "V", short: "V", long: "version" },
  { name: "c", short: "c", long: "cmd", argument: "STRING" },
  { name: "f", short: "f", long: "format", argument: "FMT" },
  { name: "r", short: "r", long: "read-only" },
  { name: "s", short: "s", long: "snapshot" },
  { name: "n", short: "n", long: "nocache" },
  { name: "C", short: "C", long: "copy-on-read" },
  { name: "m", short: "m", long: "misalign" },
  { name: "k", short: "k", long: "native-aio" },
  { name: "i", short: "i", long: "aio", argument: "MODE" },
  { name: "d", short: "d", long: "discard", argument: "MODE" },
  { name: "t", short: "t", long: "cache", argument: "MODE" },
  { name: "T", short: "T", long: "trace", argument: "SPEC" },
  { name: "U", short: "U", long: "force-share" },
  { name: "object", long: "object", argument: "OBJECTDEF" },
  { name: "image-opts", long: "image-opts" },
];

function helpText(name: string): string {
  return `Usage: ${name} [OPTIONS]... [-c STRING]... [file]
Exercises a disk image with single requests

  --object OBJECTDEF   defines an object, such as a 'secret' that holds
                       a passphrase
  --image-opts         the file is given as a list of options
  -c, --cmd STRING     runs a command; may be repeated
  -f, --format FMT     block driver of the image
  -r, --read-only      opens the image read-only
  -s, --snapshot       writes go to a temporary overlay
  -n, --nocache        past the host's cache, as -t none
  -C, --copy-on-read   enables copy-on-read
  -m, --misalign       uses misaligned buffers
  -k, --native-aio     as -i native
  -i, --aio=MODE       AIO mode (threads, native or io_uring)
  -t, --cache=MODE     cache mode of the image
  -d, --discard=MODE   discard mode of the image
  -T, --trace [[enable=]<pattern>][,events=<file>][,file=<file>]
                       trace options
  -U, --force-share    accepts other programs that use the image
  -h, --help           shows this help and exits
  -V, --version        shows the version and exits

See '${name} -c help' for the commands.
`;
}

/** Runs the program; resolves with its exit status. */
export async function ioMain(words: readonly string[], program: IoProgram): Promise<number> {
  const { output, name } = program;
  try {
    return await run(words, program);
  } catch (error) {
    output.writeError(`${name}: ${toBlockError(error).message}\n`);
    return 1;
  } finally {
    output.flush();
  }
}

async function run(words: readonly string[], program: IoProgram): Promise<number> {
  const { name, output } = program;
  const request = newRequest();
  const commands: string[] = [];
  const objects: string[] = [];
  let operands: readonly string[] = [];
  let imageOptions = false;
  let misalign = false;
  let format: string | null = null;
  const refuse = (message: string): number => {
    output.writeError(`${name}: ${message}\n`);
    return 1;
  };
  try {
    for (const item of getopt([name, ...words], OPTIONS, { wording: "glibc" })) {
      if (item.kind === "operands") {
        operands = item.operands;
        break;
      }
      const argument = item.value ?? "";
      switch (item.option.name) {
        case "h":
          output.write(helpText(name));
          return 0;
        case "V":
          output.write(`${name} version ${program.version}\n`);
          return 0;
        case "c":
          commands.push(argument);
          break;
        case "f":
          format = argument;
          break;
        case "m":
          misalign = true;
          break;
        case "object":
          objects.push(argument);
          break;
        case "image-opts":
          imageOptions = true;
          break;
        case "T":
          for (const pattern of tracePatterns(argument))
            output.writeError(`${name}: warning: trace event '${pattern}' does not exist\n`);
          break;
        default: {
          const problem = applyOpenOption(request, item.option.name, argument);
          if (problem !== null) return refuse(problem);
        }
      }
    }
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    output.writeError(`${name}: ${error.message}\n`);
    output.write(helpText(name));
    return 1;
  }
  if (operands.length > 1) {
    output.write(helpText(name));
    return 1;
  }
  if (format !== null && imageOptions) return refuse("--image-opts and -f are mutually exclusive");
  const session = new ProgramSession(await program.environment(objects), name, output);
  session.readFile = readBeginning;
  session.reopen = (change) => reopenSession(session, change);
  session.misalign = misalign;
  session.imageOptions = imageOptions;
  const file = operands[0];
  if (file !== undefined) {
    if (format !== null) request.options["driver"] = format;
    if (imageOptions) {
      const problem = addOptions(session, request.options, file);
      if (problem !== null) return refuse(problem);
    } else {
      request.filename = file;
    }
    if (!(await openSession(session, request))) return 1;
  }
  let status = 0;
  if (commands.length > 0) {
    for (const command of commands) {
      if ((await runLine(session, programCommands, command)) === "failed") status = 1;
      if (session.done) break;
    }
  } else {
    while (!session.done) {
      output.write(`${name}> `);
      output.flush();
      const line = await program.readLine();
      if (line === null) break;
      if ((await runLine(session, programCommands, line)) === "failed") status = 1;
    }
  }
  try {
    await session.close();
  } catch (error) {
    const failure = toBlockError(error);
    // That the medium fails has been said where a command failed; what is lost by it has not.
    if (status === 0 || failure.operation === "inactivate") session.report(failure.message);
    status = 1;
  }
  return status;
}

function tracePatterns(argument: string): string[] {
  return argument
    .split(",")
    .filter((part) => part !== "" && !/^(events|file)=/.test(part))
    .map((part) => part.replace(/^enable=/, ""));
}
