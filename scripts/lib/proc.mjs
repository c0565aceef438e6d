// Starting programs and files from scripts: one place for "run it, say what went wrong, stop".
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's root directory. */
export const root = resolve(fileURLToPath(new URL("../..", import.meta.url)));

/** A path relative to the root, with forward slashes. */
export const rel = (path) => relative(root, path).split(sep).join("/");

/** Runs a program in the root with inherited output; throws when it fails. */
export function run(program, args, options = {}) {
  const done = spawnSync(program, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"], ...options });
  if (done.error) throw done.error;
  if (done.status !== 0) {
    throw new Error(
      `${[program, ...args].join(" ")}: ${done.status === null ? `killed by ${done.signal}` : `exit status ${done.status}`}`,
    );
  }
}

/**
 * Runs a program and collects what it prints.
 * @returns {Promise<{status: number | null, signal: string | null, output: string, timedOut: boolean, ms: number}>}
 */
export function capture(program, args, { timeoutMs = 300_000, env = process.env, cwd = root } = {}) {
  return new Promise((done) => {
    const start = performance.now();
    // A process group of its own: when time is up, what the test itself started goes with it.
    const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
    const chunks = [];
    let size = 0;
    let timedOut = false;
    const take = (chunk) => {
      size += chunk.length;
      chunks.push(chunk);
      while (size > 4 << 20 && chunks.length > 1) size -= chunks.shift().length; // keep the end of endless output
    };
    const kill = (signal) => {
      try {
        process.kill(-child.pid, signal);
      } catch {
        // already gone
      }
    };
    const stop = () => kill("SIGKILL");
    running.add(stop);
    const timer = setTimeout(() => {
      timedOut = true;
      kill("SIGTERM");
      setTimeout(() => kill("SIGKILL"), 3000).unref();
    }, timeoutMs);
    const finish = (status, signal, extra = "") => {
      clearTimeout(timer);
      running.delete(stop);
      done({ status, signal, output: Buffer.concat(chunks).toString("utf8") + extra, timedOut, ms: performance.now() - start });
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    child.on("error", (error) => finish(null, null, `${error}\n`));
    // "exit", not "close": a grandchild that keeps the pipe open must not hold us; give the pipes a moment to drain.
    child.on("exit", (status, signal) => {
      const end = () => finish(status, signal);
      const late = setTimeout(() => {
        kill("SIGKILL");
        end();
      }, 2000);
      child.on("close", () => {
        clearTimeout(late);
        end();
      });
    });
  });
}

const running = new Set();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => {
    for (const stop of running) stop();
    process.exit(130);
  });
}

/** All files below `dir` (relative to the root) that `accept` takes, sorted; node_modules and build are left out. */
export function walk(dir, accept = () => true) {
  const found = [];
  const visit = (path) => {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      if (entry.name === "node_modules" || entry.name === "build" || entry.name.startsWith(".")) continue;
      const full = join(path, entry.name);
      if (entry.isDirectory()) visit(full);
      else if (entry.isFile() && accept(rel(full))) found.push(rel(full));
    }
  };
  const top = join(root, dir);
  if (existsSync(top)) {
    if (statSync(top).isDirectory()) visit(top);
    else if (accept(dir)) found.push(dir);
  }
  return found.sort();
}
