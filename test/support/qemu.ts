/** The real QEMU programs. */
import { spawnSync } from "node:child_process";

/** Whether they are installed; a test that needs them skips when not. */
export const hasQemu: boolean = spawnSync("qemu-img", ["--version"]).status === 0;

export type Options = Readonly<Record<string, string | number | boolean>>;

/** Options of `create` as `-o` wants them. */
export function optionText(options: Options): string[] {
  const text = Object.entries(options).map(
    ([name, value]) => `${name}=${value === true ? "on" : value === false ? "off" : String(value)}`,
  );
  return text.length === 0 ? [] : ["-o", text.join(",")];
}

/** Runs a program that must succeed, and answers what it printed. Key derivation of QEMU 7.2 fails now and then on a busy machine. */
export function qemu(program: string, ...args: string[]): string {
  for (let attempt = 0; ; attempt++) {
    const run = spawnSync(program, args, { encoding: "utf8" });
    if (run.status === 0) return run.stdout;
    if (attempt < 20 && run.stderr?.includes("accurate CPU usage")) continue;
    throw new Error(`${program} ${args.join(" ")}: ${run.stdout}${run.stderr}`);
  }
}
