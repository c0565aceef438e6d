/** What a command of the human monitor is. */
import type { Op } from "../../block/op.js";
import type { BlockCore } from "../command.js";

/** An argument of a command line, in the order given; letters are options (`-f`). */
export interface HmpParameter {
  readonly name: string;
  /**
   * `device`, `file`, `word`: one word, or text in double quotes; `rest`: everything to the end of the line; `integer`; `size`: bytes,
   * mebibytes where there is no suffix; `flag`: an option without a value.
   */
  readonly type: "device" | "file" | "word" | "rest" | "integer" | "size" | "flag";
  /** Letter of a flag. */
  readonly letter?: string;
  readonly optional?: boolean;
}

export type HmpArguments = Readonly<Record<string, string | number | boolean | undefined>>;

export interface HmpOutput {
  /** Text for the user; lines end with "\n". */
  print(text: string): void;
}

export interface HmpCommand {
  readonly name: string;
  readonly alias?: string;
  readonly parameters: readonly HmpParameter[];
  /** Parameters as the help shows them. */
  readonly usage: string;
  readonly summary: string;
  /** Failures are printed by who calls it: `Error: …`. */
  readonly run: (core: BlockCore, out: HmpOutput, args: HmpArguments) => Op<void>;
}

/** Commands, and those that come after `info`. */
export interface HumanCommands {
  readonly commands: readonly HmpCommand[];
  readonly info: readonly HmpCommand[];
}

export const flag = (letter: string, name: string): HmpParameter => ({ name, type: "flag", letter, optional: true });
export const device: HmpParameter = { name: "device", type: "device" };
export const word = (name: string): HmpParameter => ({ name, type: "word" });
export const file = (name: string): HmpParameter => ({ name, type: "file" });
export const maybe = (parameter: HmpParameter): HmpParameter => ({ ...parameter, optional: true });

/** An argument that must be a text; the parser has seen to it. */
export const text = (args: HmpArguments, name: string): string => String(args[name] ?? "");

/** What is given, for QMP: names as they are there, values as they came, without those that were not given. */
export function given(
  values: Readonly<Record<string, string | number | boolean | undefined>>,
): Record<string, string | number | boolean> {
  const out: Record<string, string | number | boolean> = {};
  for (const [name, value] of Object.entries(values)) if (value !== undefined) out[name] = value;
  return out;
}
