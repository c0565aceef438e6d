/** `--fork` and `--daemonize`: the program goes on as a process of its own, and the caller gets its terminal back once it is ready. */
import { closeSync, openSync, writeSync } from "node:fs";

/** Tells the process that goes on that its parent waits for word on descriptor `WORD`. */
const DETACHED = "BLOCKCORE_DETACHED";
const WORD = 3;
const STDERR = 2;

/** Whether this process is to start another one of itself, rather than do the work. */
export function mustDetach(): boolean {
  return process.env[DETACHED] === undefined;
}

/**
 * Runs this program again with the same arguments, apart from this process and its session; resolves with the exit code for this
 * process: 0 as soon as the other one says that it is ready (`sayReady`), its own exit code when it ended before. What it has to
 * complain about until then goes to this process's standard error.
 */
export function detach(): Promise<number> {
  // Loaded here only: importing it costs every command its time.
  const { spawn } = process.getBuiltinModule("node:child_process");
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      detached: true,
      stdio: ["ignore", "ignore", "inherit", "pipe"],
      env: { ...process.env, [DETACHED]: "1" },
    });
    const word = child.stdio[WORD]!;
    let ready = false;
    word.once("data", () => {
      ready = true;
      child.unref();
      word.destroy();
      resolve(0);
      // The other one lives on; nothing of it must keep this process.
      setImmediate(() => process.exit(0));
    });
    child.once("error", () => resolve(1));
    child.once("exit", (code) => {
      if (!ready) resolve(code ?? 1);
    });
  });
}

/**
 * Lets the waiting parent go, if there is one, and lets go of what was inherited from it: who reads its output waits for no more.
 * @param keepErrors go on complaining where the parent did
 */
export function sayReady(keepErrors = false): void {
  if (process.env[DETACHED] === undefined) return;
  delete process.env[DETACHED];
  try {
    writeSync(WORD, "ready\n");
    closeSync(WORD);
  } catch {
    // the parent has gone
  }
  if (keepErrors) return;
  // The lowest free descriptor is the one just closed: messages go nowhere from now on, rather than into somebody else's file.
  closeSync(STDERR);
  openSync("/dev/null", "w");
}
