/** A `World` (see world.ts) whose images are files in a temporary directory of this machine. */
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createImage } from "../../src/block/create.js";
import { openNode } from "../../src/block/open.js";
import { runAsync, runSync, type Op, type Outcome } from "../../src/block/op.js";
import { allowAll, nodeEnvironment } from "../../src/node-environment.js";
import { tempPath } from "./temp.js";
import type { World } from "./world.js";

export interface NodeWorld extends World {
  /** Where a file of this world is. */
  path(name: string): string;
  dispose(): void;
}

export function makeNodeWorld(mode: "sync" | "async"): NodeWorld {
  const folder = tempPath("world");
  mkdirSync(folder);
  const warnings: string[] = [];
  const environment = nodeEnvironment({
    gate: allowAll,
    warn: (message) => void warnings.push(message),
    faces: mode === "sync" ? "sync" : "both",
  });
  const world: NodeWorld = {
    mode,
    environment,
    files: new Map(),
    warnings,
    path: (name) => join(folder, name),
    dispose: () => rmSync(folder, { recursive: true, force: true }),
    async run<T>(op: Op<T>): Promise<T> {
      return mode === "sync" ? runSync(op) : await runAsync(op);
    },
    async runAll(ops): Promise<Outcome[]> {
      const outcomes: Outcome[] = [];
      const one = async (op: Op<unknown>, i: number): Promise<void> => {
        try {
          outcomes[i] = { ok: true, value: await world.run(op) };
        } catch (error) {
          outcomes[i] = { ok: false, error };
        }
      };
      if (mode === "async") await Promise.all(ops.map(one));
      else for (const [i, op] of ops.entries()) await one(op, i);
      return outcomes;
    },
    async create(driver, filename, size, options = {}) {
      await world.run(createImage(environment, { driver: environment.drivers.get(driver)!, filename, size, options }));
    },
    open: (driver, filename, flags = { write: true, unmap: true }, options = {}) =>
      world.run(openNode(environment, { filename, options, flags, ...(driver === null ? {} : { driver }) })),
    close: (node) => world.run(node.unref()),
    bytes: (filename) => readFileSync(filename),
  };
  return world;
}
