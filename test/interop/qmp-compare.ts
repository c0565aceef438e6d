/** Comparing what QEMU answers with what we answer. */
import { rmSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { build } from "esbuild";
import type { Json } from "./qmp-client.js";

export interface Transcript {
  replies: unknown[];
  events: unknown[];
}

/** One of our programs, from its source: the command that runs it. */
export async function bundleProgram(entry: string): Promise<string[]> {
  const outfile = resolve("build/one", `${basename(dirname(entry))}-${basename(entry, ".ts")}-${process.pid}.mjs`);
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    packages: "external",
    loader: { ".wasm": "binary" },
    logLevel: "warning",
  });
  process.on("exit", () => rmSync(outfile, { force: true }));
  return [process.execPath, outfile];
}

/** What may differ: times, generated names, bytes on disk, the way a number of bytes was reached. */
export function mask(value: unknown, options: { progressDiffers?: boolean } = {}): unknown {
  const masked = JSON.parse(
    JSON.stringify(value, (key, inner: unknown) => {
      if (
        key === "timestamp" ||
        key === "actual-size" ||
        key.startsWith("date-") ||
        key.startsWith("vm-clock") ||
        key === "icount"
      )
        return undefined;
      if (key.endsWith("_ns") || key === "current-progress" || key === "busy") return undefined;
      // How far a file reaches is the allocator's business.
      if (typeof inner === "object" && inner !== null && (inner as Json)["format"] === "file")
        delete (inner as Json)["virtual-size"];
      if (options.progressDiffers === true && (key === "len" || key === "offset" || key === "total-progress")) return undefined;
      return typeof inner === "string" ? inner.replace(/#block\d+/g, "#block") : inner;
    }),
  ) as unknown;
  if (!Array.isArray(masked)) return masked;
  // QEMU pauses a job for a moment whenever the graph below it changes: not to be relied on.
  return (masked as Json[]).filter((event, i, list) => {
    const status = (at: number): unknown => ((list[at]?.["data"] ?? {}) as Json)["status"];
    const pause = (at: number): boolean =>
      (status(at) === "paused" && status(at + 1) === "running") || (status(at) === "standby" && status(at + 1) === "ready");
    return event["event"] !== "JOB_STATUS_CHANGE" || !(pause(i) || pause(i - 1));
  });
}

function sortKeys(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Where two transcripts part; null: nowhere. The order of members counts for nothing. */
export function difference(what: string, expected: readonly unknown[], actual: readonly unknown[]): string | null {
  for (let i = 0; i < Math.max(expected.length, actual.length); i++) {
    const [a, b] = [JSON.stringify(expected[i], sortKeys), JSON.stringify(actual[i], sortKeys)];
    if (a === b) continue;
    let at = 0;
    while (a?.[at] !== undefined && a[at] === b?.[at]) at++;
    return `${what}[${i}]\n    QEMU: ${(a ?? "nothing").slice(Math.max(0, at - 120), at + 200)}\n    ours: ${(b ?? "nothing").slice(Math.max(0, at - 120), at + 200)}`;
  }
  return null;
}
