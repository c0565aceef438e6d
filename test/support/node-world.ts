/** A `World` (see world.ts) whose images are files in a temporary directory of this machine. */
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { allowAll, nodeEnvironment } from "../../src/platform/node-environment.js";
import { tempPath } from "./temp.js";
import { plainWorld } from "./plain-world.js";
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
    ...plainWorld(mode, environment),
    mode,
    environment,
    files: new Map(),
    warnings,
    path: (name) => join(folder, name),
    dispose: () => rmSync(folder, { recursive: true, force: true }),
    bytes: (filename) => readFileSync(filename),
  };
  return world;
}
