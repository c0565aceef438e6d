/** The uvu side of portable tests: results that came from another runtime become uvu tests of this process. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { PortableResult } from "./portable-uvu.js";
import { skip } from "./skip.js";
import { suite } from "uvu";

/** Thrown where the runtime is not to be had on this machine: the suite is skipped, with this reason. */
export class Unavailable extends Error {}

interface BundleModule {
  bundlePortable(file: string, options: { outfile: string; runner: string; workerdWasm?: string | null }): Promise<void>;
}

/** Bundles `file` (path from the repository's root) with the code in `runner` that executes it over there. */
export async function bundlePortable(
  file: string,
  options: { outfile: string; runner: string; workerdWasm?: string },
): Promise<void> {
  const url = pathToFileURL(resolve("scripts/lib/bundle.mjs")).href;
  await ((await import(url)) as BundleModule).bundlePortable(file, options);
}

/** A temporary directory for the time of `action`. */
export async function inTemporary<T>(action: (dir: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), "blockcore-"));
  try {
    return await action(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
  }
}

/**
 * Runs `execute` at once and registers one uvu test per result, so that the names show up like any other test's.
 * No result at all is a failure.
 */
export async function portableSuite(title: string, execute: () => Promise<PortableResult[]>): Promise<void> {
  const own = suite(title);
  let results: PortableResult[] = [];
  try {
    results = await execute();
    if (results.length === 0)
      own("has tests", () => {
        throw new Error("no test ran");
      });
  } catch (error) {
    if (error instanceof Unavailable) own("is available", () => skip(error.message));
    else
      own("runs", () => {
        throw error;
      });
  }
  for (const { name, state, text } of results) {
    own(name, () => {
      // eslint-disable-next-line no-control-regex -- colours of a terminal that is not there
      if (state === "fail") throw Object.assign(new Error(text.replace(/\x1b\[[0-9;]*m/g, "")), { stack: "" });
      if (state === "skip") skip(text);
    });
  }
  own.run();
}
