/** The short options of a command, from a getopt string. */
import { getopt, UsageError, type OptionSpec } from "../../base/getopt.js";

export interface ShortOptions {
  /** Options in the order given, with their argument ("" for those without one). */
  readonly options: readonly (readonly [letter: string, argument: string])[];
  readonly operands: readonly string[];
  /** What getopt says on stderr about the first bad option; null when all are known. */
  readonly problem: string | null;
}

/**
 * @param spec letters that are options, each followed by ":" when it takes an argument
 * @param words the words after the command's name
 */
export function shortOptions(name: string, spec: string, words: readonly string[]): ShortOptions {
  const table: OptionSpec[] = [];
  for (const [, letter, colon] of spec.matchAll(/([A-Za-z])(:?)/g)) {
    table.push({ name: letter!, short: letter!, ...(colon === ":" ? { argument: "value" } : {}) });
  }
  const options: [string, string][] = [];
  try {
    for (const item of getopt([name, ...words], table, { wording: "glibc" })) {
      if (item.kind === "operands") return { options, operands: item.operands, problem: null };
      options.push([item.option.name, item.value ?? ""]);
    }
  } catch (error) {
    if (error instanceof UsageError) return { options, operands: [], problem: `${name}: ${error.message}` };
    throw error;
  }
  return { options, operands: [], problem: null };
}
