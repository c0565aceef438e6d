/** What the worlds over real storages (node:fs, OPFS) share: driving Ops synchronously or not, creating and opening. No platform imports. */
import type { Environment } from "../../src/block/context.js";
import { createImage } from "../../src/block/create.js";
import { openNode } from "../../src/block/open.js";
import { runAsync, runSync, type Op, type Outcome } from "../../src/block/op.js";
import type { World } from "./world.js";

/** All at once in "async", one after the other in "sync"; the outcomes in order. */
export function plainWorld(
  mode: "sync" | "async",
  environment: Environment,
): Pick<World, "run" | "runAll" | "create" | "open" | "close"> {
  const run = async <T>(op: Op<T>): Promise<T> => (mode === "sync" ? runSync(op) : await runAsync(op));
  const outcome = async (op: Op<unknown>): Promise<Outcome> => {
    try {
      return { ok: true, value: await run(op) };
    } catch (error) {
      return { ok: false, error };
    }
  };
  return {
    run,
    async runAll(ops) {
      if (mode === "async") return await Promise.all(ops.map(outcome));
      const outcomes: Outcome[] = [];
      for (const op of ops) outcomes.push(await outcome(op));
      return outcomes;
    },
    create: (driver, filename, size, options = {}) =>
      run(createImage(environment, { driver: environment.drivers.get(driver)!, filename, size, options })),
    open: (driver, filename, flags = { write: true, unmap: true }, options = {}) =>
      run(openNode(environment, { filename, options, flags, ...(driver === null ? {} : { driver }) })),
    close: (node) => run(node.unref()),
  };
}
