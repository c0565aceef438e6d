/** Command lines of programs and of qemu-img's verbs: getopt with a result by name, and usage lines. */
import { getopt, UsageError, type GetoptOptions, type OptionSpec } from "../base/getopt.js";

export { getopt, UsageError, type GetoptItem, type GetoptOptions, type OptionSpec } from "../base/getopt.js";

/** A verb: its options and what its command line looks like. */
export interface VerbSpec {
  readonly verb: string;
  /** One line for the help. */
  readonly summary: string;
  readonly options: readonly OptionSpec[];
  /** Operands as the usage line shows them. */
  readonly operands: string;
  /** The last argument is set aside before options are read (`resize`: a size like "-1G" is no option). */
  readonly sizeLast?: boolean;
}

export interface ParsedOptions {
  /** Asked for help or version: stop here. */
  readonly action: "run" | "help" | "version";
  readonly operands: readonly string[];
  has(name: string): boolean;
  /** The last value given. */
  get(name: string): string | undefined;
  /** All values, in order. */
  all(name: string): readonly string[];
  /** Option names in the order they came, with values. */
  readonly sequence: readonly { readonly name: string; readonly value: string | undefined }[];
}

class Parsed implements ParsedOptions {
  action: ParsedOptions["action"] = "run";
  operands: string[] = [];
  readonly sequence: { name: string; value: string | undefined }[] = [];

  has(name: string): boolean {
    return this.sequence.some((entry) => entry.name === name);
  }
  get(name: string): string | undefined {
    return this.all(name).at(-1);
  }
  all(name: string): string[] {
    return this.sequence.filter((entry) => entry.name === name).flatMap((entry) => entry.value ?? []);
  }
}

/** Reads all options; stops at options named "help" and "version". Throws UsageError. */
export function parseOptions(argv: readonly string[], table: readonly OptionSpec[], options: GetoptOptions = {}): ParsedOptions {
  const parsed = new Parsed();
  for (const item of getopt(argv, table, options)) {
    if (item.kind === "operands") {
      parsed.operands = item.operands;
    } else if (item.option.name === "help" || item.option.name === "version") {
      parsed.action = item.option.name;
      break;
    } else {
      parsed.sequence.push({ name: item.option.name, value: item.value });
    }
  }
  return parsed;
}

/** The command line of a verb, `argv[0]` being the verb. With `sizeLast` the size comes back as the last operand. */
export function parseVerb(argv: readonly string[], spec: VerbSpec): ParsedOptions {
  if (spec.sizeLast !== true) return parseOptions(argv, spec.options);
  if (argv.length === 2 && (argv[1] === "-h" || argv[1] === "--help")) return parseOptions(argv, spec.options);
  if (argv.length < 3) throw new UsageError("Not enough arguments");
  const parsed = parseOptions(argv.slice(0, -1), spec.options) as Parsed;
  if (parsed.action === "run") parsed.operands.push(argv.at(-1)!);
  return parsed;
}

const optionText = (spec: OptionSpec): string => {
  const { short, long, argument } = spec;
  if (long === undefined) return argument === undefined ? `-${short}` : `-${short} ${argument}`;
  return `${short === undefined ? "" : `-${short}|`}--${long}${argument === undefined ? "" : `=${argument}`}`;
};

/** "  verb [-f fmt] [--output=ofmt] filename": one line, as `qemu-img --help` lists verbs. */
export function usageLine(spec: VerbSpec): string {
  const shown = spec.options.filter((option) => option.hidden !== true && option.name !== "help");
  const brackets = shown.map(
    (option) =>
      `[${optionText(option)}]${option.repeat === true && option.argument !== undefined && option.short === undefined ? "..." : ""}`,
  );
  return `  ${[spec.verb, ...brackets, spec.operands].filter((part) => part !== "").join(" ")}`;
}
