/**
 * Runs portable uvu files in workerd, Deno and Bun (binaries from test/runtimes, installed on demand), and in Node.
 * They reach one server: the loopback server, which serves `/pattern` with ranges.
 */
import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { loopback, type Body } from "../support/loopback.js";
import { bundlePortable, inTemporary, portableSuite, Unavailable } from "../support/portable-suite.js";
import type { PortableResult } from "../support/portable-uvu.js";

export type Runtime = "workerd" | "deno" | "bun" | "node";
export const RUNTIMES: readonly Runtime[] = ["workerd", "deno", "bun", "node"];

/** The program of a runtime. @throws Unavailable when it is not installed and can not be */
export function runtimeProgram(runtime: Runtime): string {
  if (runtime === "node") return process.execPath;
  const program = resolve("test/runtimes/node_modules/.bin", runtime);
  if (!existsSync(program)) spawnSync(process.execPath, ["scripts/setup.mjs", "runtimes"], { stdio: "ignore", timeout: 300_000 });
  if (!existsSync(program)) throw new Unavailable(`${runtime} is not installed (npm install in test/runtimes)`);
  return program;
}

export interface Ran {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end; it is killed after `timeoutMs`, and must not be waited for longer. */
export function execute(
  program: string,
  args: string[],
  options: { cwd: string; env: NodeJS.ProcessEnv; timeoutMs: number },
): Promise<Ran> {
  return new Promise((done, failed) => {
    const child = spawn(program, args, { cwd: options.cwd, env: options.env, stdio: ["ignore", "pipe", "pipe"] });
    const [out, err]: [Buffer[], Buffer[]] = [[], []];
    const timer = setTimeout(() => child.kill("SIGKILL"), options.timeoutMs);
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    child.on("error", failed);
    child.on("close", (status) => {
      clearTimeout(timer);
      done({ status, stdout: Buffer.concat(out).toString("utf8"), stderr: Buffer.concat(err).toString("utf8") });
    });
  });
}

const capnp = (place: unknown): string => `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .tests),
    (name = "internet", network = (allow = ["private", "local", "public"])),
  ],
);
const tests :Workerd.Worker = (
  modules = [
    (name = "worker", esModule = embed "script.js"),
    (name = "kernel.wasm", wasm = embed "kernel.wasm"),
  ],
  bindings = [(name = "PLACE", json = ${JSON.stringify(JSON.stringify(place))})],
  compatibilityDate = "2026-04-01",
  compatibilityFlags = ["nodejs_compat"],
  globalOutbound = "internet",
);
`;

/** How each runtime is told to run `script.js` with nothing but the network and its own file. */
const COMMAND: Record<Runtime, string[]> = {
  workerd: ["test", "config.capnp"],
  deno: ["run", "--no-config", "--no-lock", "--no-remote", "--quiet", "--allow-env", "--allow-net=127.0.0.1", "script.js"],
  bun: ["run", "script.js"],
  // Memory is watched there: a collector on other threads is late on a busy machine, and Node.js 24 keeps more garbage than 20.
  node: ["--enable-source-maps", "--single-threaded-gc", "--max-semi-space-size=16", "script.mjs"],
};

/** Bundles `file` for `runtime`, runs it there and returns what its tests said. */
export async function runIn(
  runtime: Runtime,
  file: string,
  limitMs = 60_000,
  bodies: ReadonlyMap<string, Body> = new Map(),
): Promise<PortableResult[]> {
  const program = runtimeProgram(runtime);
  if (!existsSync("build/kernel.wasm")) throw new Error("build/kernel.wasm is missing: run `npm run build`");
  return inTemporary(async (dir) => {
    const server = await loopback();
    for (const [path, body] of bodies) server.bodies.set(path, body);
    try {
      const place = { runtime, server: server.address, limitMs };
      const outfile = join(dir, runtime === "node" ? "script.mjs" : "script.js");
      if (runtime === "workerd") {
        await bundlePortable(file, { outfile, runner: "test/edge/runner-workerd.ts", workerdWasm: "./kernel.wasm" });
        copyFileSync("build/kernel.wasm", join(dir, "kernel.wasm"));
        writeFileSync(join(dir, "config.capnp"), capnp(place));
      } else {
        await bundlePortable(file, { outfile, runner: "test/edge/runner.ts" });
        writeFileSync(join(dir, "package.json"), '{ "type": "module" }');
      }
      const env = {
        PATH: process.env["PATH"],
        HOME: dir,
        TMPDIR: dir,
        DENO_DIR: join(dir, "deno"),
        DENO_NO_UPDATE_CHECK: "1",
        BUN_INSTALL_CACHE_DIR: join(dir, "bun"),
        DO_NOT_TRACK: "1",
        NO_COLOR: "1",
        BLOCKCORE_PLACE: JSON.stringify(place),
      };
      const ran = await execute(program, COMMAND[runtime], { cwd: dir, env, timeoutMs: limitMs + 30_000 });
      const line = /^.*BLOCKCORE-RESULT (\[.*\])\s*$/m.exec(`${ran.stdout}\n${ran.stderr}`);
      if (!line) throw new Error(`${runtime} ended with status ${ran.status} and no results\n${ran.stdout}\n${ran.stderr}`);
      if (ran.status !== 0) throw new Error(`${runtime} ended with status ${ran.status}\n${ran.stderr}`);
      return JSON.parse(line[1]!) as PortableResult[];
    } finally {
      await server.close();
    }
  });
}

/**
 * Runs the uvu tests of `file` (path from the repository's root) in every runtime; the server has `bodies` besides its own.
 * `await` it at the top of a test file.
 */
export async function edgeSuite(
  file: string,
  runtimes: readonly Runtime[] = RUNTIMES,
  limitMs = 60_000,
  bodies: ReadonlyMap<string, Body> = new Map(),
): Promise<void> {
  const name = basename(file).replace(/\.(test|portable)\.ts$/, "");
  for (const runtime of runtimes) await portableSuite(`${runtime}: ${name}`, () => runIn(runtime, file, limitMs, bodies));
}
