/**
 * Options in words, read exactly as glibc's getopt_long reads them: `-pO qcow2`, `-fraw`, `--output=json`, `--output json`,
 * unambiguous abbreviations of long options, operands between options, `--`. Options are yielded in order, so that `-h` and
 * `-V` act before a later mistake is noticed.
 */
import { BlockError } from "./error.js";

export interface OptionSpec {
  /** What the item of the option is called by. */
  readonly name: string;
  /** One letter. */
  readonly short?: string;
  /** Without the dashes. */
  readonly long?: string;
  /** Name of the argument for the help; present if the option takes one. */
  readonly argument?: string;
  /** Every occurrence counts; otherwise the last one does. */
  readonly repeat?: boolean;
  /** Not shown in the help. */
  readonly hidden?: boolean;
}

export type GetoptItem =
  | { kind: "option"; option: OptionSpec; value: string | undefined }
  | { kind: "operands"; operands: string[] };

export interface GetoptOptions {
  /** "permute": operands may stand between options; "stop": the first operand ends the options (`qemu-img` before its verb). */
  operands?: "permute" | "stop";
  /** Words of errors: "qemu" as qemu-img itself says it, "glibc" as the C library does (qemu-io's commands), after `program: `. */
  wording?: "qemu" | "glibc";
}

/** A wrong option: `message` without program name; the caller prints the "Try … --help" line. */
export class UsageError extends BlockError {
  constructor(message: string) {
    super("ERR_INVALID_ARGUMENT", message);
    this.name = "UsageError";
  }
}

/** `argv[0]` is the program or verb (it shows up in QEMU's message for a bad letter inside a cluster). The last item has the operands. */
export function* getopt(
  argv: readonly string[],
  table: readonly OptionSpec[],
  options: GetoptOptions = {},
): Generator<GetoptItem, void, undefined> {
  const { operands: mode = "permute", wording = "qemu" } = options;
  const args = [...argv];
  let index = 1;
  /** Operands passed over so far: args[firstOperand..lastOperand), moved behind the options as glibc does. */
  let firstOperand = 1;
  let lastOperand = 1;

  const exchange = (): void => {
    const operands = args.splice(firstOperand, lastOperand - firstOperand);
    args.splice(index - operands.length, 0, ...operands);
    firstOperand += index - lastOperand;
    lastOperand = index;
  };
  const wrong = (qemu: "unrecognized option" | "missing argument for option", glibc: string): UsageError =>
    new UsageError(wording === "glibc" ? glibc : `${qemu} '${args[index - 1] ?? ""}'`);

  for (;;) {
    if (mode === "permute") {
      if (firstOperand !== lastOperand && lastOperand !== index) exchange();
      else if (lastOperand !== index) firstOperand = index;
      while (index < args.length && !isOption(args[index]!)) index++;
      lastOperand = index;
    }
    if (args[index] === "--") {
      index++;
      if (firstOperand !== lastOperand && lastOperand !== index) exchange();
      else if (firstOperand === lastOperand) firstOperand = index;
      yield { kind: "operands", operands: args.slice(firstOperand) };
      return;
    }
    const arg = args[index];
    if (arg === undefined || !isOption(arg)) {
      yield { kind: "operands", operands: args.slice(mode === "permute" ? firstOperand : index) };
      return;
    }

    if (arg.startsWith("--")) {
      index++;
      const equals = arg.indexOf("=");
      const name = equals < 0 ? arg.slice(2) : arg.slice(2, equals);
      const found = findLong(table, name);
      if (found.length === 0) throw wrong("unrecognized option", `unrecognized option '--${name}'`);
      if (found.length > 1) {
        throw wrong(
          "unrecognized option",
          `option '--${name}' is ambiguous; possibilities: ${found.map((spec) => `'--${spec.long}'`).join(" ")}`,
        );
      }
      const option = found[0]!;
      let value: string | undefined;
      if (equals >= 0) {
        if (option.argument === undefined)
          throw wrong("unrecognized option", `option '--${option.long}' doesn't allow an argument`);
        value = arg.slice(equals + 1);
      } else if (option.argument !== undefined) {
        value = args[index];
        if (value === undefined) throw wrong("missing argument for option", `option '--${option.long}' requires an argument`);
        index++;
      }
      yield { kind: "option", option, value };
      continue;
    }

    for (let at = 1; at < arg.length; at++) {
      const letter = arg[at]!;
      const last = at === arg.length - 1;
      const option = table.find((spec) => spec.short === letter);
      if (last) index++;
      if (option === undefined) throw wrong("unrecognized option", `invalid option -- '${letter}'`);
      if (option.argument === undefined) {
        yield { kind: "option", option, value: undefined };
        continue;
      }
      let value: string | undefined;
      if (last) {
        value = args[index];
        if (value === undefined) throw wrong("missing argument for option", `option requires an argument -- '${letter}'`);
      } else {
        value = arg.slice(at + 1);
      }
      index++;
      yield { kind: "option", option, value };
      break;
    }
  }
}

const isOption = (arg: string): boolean => arg.length > 1 && arg.startsWith("-");

/** Exactly that name, or all long options that start with it (several spellings of one option count once). */
function findLong(table: readonly OptionSpec[], name: string): OptionSpec[] {
  const exact = table.find((spec) => spec.long === name);
  if (exact !== undefined) return [exact];
  const found = table.filter((spec) => spec.long?.startsWith(name) === true);
  return found.every((spec) => spec.name === found[0]?.name) ? found.slice(0, 1) : found;
}
