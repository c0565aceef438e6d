/** The shape of a qemu-io command and how a line of text becomes a call of one. */
import { shortOptions, type ShortOptions } from "./getopt.js";
import type { IoSession } from "./session.js";

/** "failed" makes the program's exit status 1; the command has said why. */
export type Outcome = "done" | "failed";

/** `S`: the sessions it works in. */
export interface Command<S extends IoSession = IoSession> {
  readonly name: string;
  readonly alias?: string;
  /** Fewest and most words after the name; -1: any number. */
  readonly min: number;
  readonly max: number;
  /** As shown in usage lines. */
  readonly usage?: string;
  readonly summary: string;
  /** Lines of extended help. */
  readonly help?: readonly string[];
  /** Works without an open file. */
  readonly withoutFile?: boolean;
  /** Needs a writable file. */
  readonly writes?: boolean;
  run(session: S, words: readonly string[]): Promise<Outcome>;
}

/** What it says about itself. */
type AnyCommand = Omit<Command, "run">;

export function usageLine(command: AnyCommand, name: string = command.name): string {
  return `${name} ${command.usage === undefined ? "" : `${command.usage} `}-- ${command.summary}\n`;
}

/** Reads a command's options; null after telling the user what was wrong with them. */
export function readOptions(
  session: IoSession,
  command: AnyCommand,
  spec: string,
  words: readonly string[],
): ShortOptions | null {
  const parsed = shortOptions(command.name, spec, words);
  if (parsed.problem === null) return parsed;
  session.complain(parsed.problem);
  return usage(session, command);
}

/** Prints the usage line; `return usage(...) ?? "failed"` reads well where options were wrong. */
export function usage(session: IoSession, command: AnyCommand): null {
  session.print(usageLine(command));
  return null;
}

/** Runs one line. Unknown commands, wrong counts and failures are reported to the session. */
export async function runLine<S extends IoSession>(
  session: S,
  commands: ReadonlyMap<string, Command<S>>,
  line: string,
): Promise<Outcome> {
  const words = line.split(" ").filter((word) => word !== "");
  const name = words.shift();
  if (name === undefined) return "done";
  const command = commands.get(name);
  if (command === undefined) {
    session.complain(`command "${name}" not found`);
    return "failed";
  }
  if (command.withoutFile !== true && session.node === null) {
    session.complain("no file open, try 'help open'");
    return "failed";
  }
  const count = words.length;
  if (count < command.min || (command.max >= 0 && count > command.max)) {
    const expected =
      command.max < 0
        ? `at least ${command.min}`
        : command.min === command.max
          ? `${command.min}`
          : `between ${command.min} and ${command.max}`;
    session.complain(`bad argument count ${count} to ${name}, expected ${expected} arguments`);
    return "failed";
  }
  if (command.writes === true && session.node!.readOnly) {
    session.report("Block node is read-only");
    return "failed";
  }
  return await command.run(session, words);
}

/** The commands by name and by alias. */
export function commandTable<S extends IoSession = IoSession>(commands: readonly Command<S>[]): ReadonlyMap<string, Command<S>> {
  const table = new Map<string, Command<S>>();
  for (const command of commands) {
    table.set(command.name, command);
    if (command.alias !== undefined) table.set(command.alias, command);
  }
  return table;
}
