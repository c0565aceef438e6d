/** A scenario as the files that the oracle's own enumerator reads. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Machine } from "./machine.js";
import type { Scenario } from "./scenarios.js";

/** Runs a scenario without snapshot operations and resizes; returns the log's name. */
export async function logFiles(scenario: Scenario, folder: string, stale = 0xee): Promise<string> {
  const machine = new Machine({ ...scenario.machine, stale, seed: 1 });
  await machine.create();
  scenario.before?.(machine);
  await machine.record();
  await scenario.run(machine);
  await machine.close();
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "base.img"), machine.base);
  if (machine.backing !== null) writeFileSync(join(folder, "backing.img"), machine.backing);
  const header = {
    op: "open",
    v: 1,
    image: "base.img",
    format: "qcow2",
    virtual_size: machine.options.size,
    backing: machine.backing === null ? null : "backing.img",
  };
  const log = join(folder, "log.jsonl");
  writeFileSync(log, [header, ...machine.lines].map((line) => `${JSON.stringify(line)}\n`).join(""));
  return log;
}
