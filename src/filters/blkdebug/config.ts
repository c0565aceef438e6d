/**
 * Rules as text: a blkdebug configuration file.
 *
 *     [inject-error]
 *     event = "l2_load"
 *     errno = "28"
 *
 * Lines of `key = "value"` below `[group]` or `[group "id"]`; empty lines and those that begin with '#' do not count.
 */
import { BlockError } from "../../base/error.js";

export interface ConfigGroup {
  name: string;
  options: Record<string, string>;
}

/** A rule file is a few lines; more than this is something else. */
export const MAX_CONFIG_BYTES: number = 1024 * 1024;

const GROUPS: readonly string[] = ["inject-error", "set-state"];

/** @param filename for messages */
export function parseConfig(text: string, filename: string): ConfigGroup[] {
  const groups: ConfigGroup[] = [];
  let group: ConfigGroup | null = null;
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const failed = (what: string): BlockError =>
      new BlockError("ERR_INVALID_ARGUMENT", `Could not parse blkdebug config file: ${filename}:${index + 1}: ${what}`);
    const head = /^\s*\[\s*([^\s"\]]+)\s*(?:"([^"]*)"\s*)?\]/.exec(line);
    if (head !== null) {
      const name = head[1]!;
      if (!GROUPS.includes(name)) throw failed(`There is no option group '${name}'`);
      groups.push((group = { name, options: {} }));
      continue;
    }
    const pair = /^\s*([^\s="]+)\s*=\s*"([^"]*)"/.exec(line);
    if (pair === null) throw failed("parse error");
    if (group === null) throw failed("no group defined");
    group.options[pair[1]!] = pair[2]!;
  }
  return groups;
}
