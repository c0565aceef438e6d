/** Programs that are started for a test and ended with it, in a directory of their own. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import * as assert from "uvu/assert";

/** Our programs, named as QEMU's. */
export const OURS: string = process.env["BLOCKCORE_PROGRAMS"] ?? join(process.cwd(), "build/qemu");

export function have(...programs: string[]): boolean {
  return programs.every((program) => spawnSync("sh", ["-c", `command -v ${program}`]).status === 0);
}

/** Whether somebody listens on a Unix socket: its file is there a moment before. (Connecting to find out would be a client.) */
function listens(path: string): boolean {
  const sockets = "/proc/net/unix";
  if (!existsSync(path) || !existsSync(sockets)) return existsSync(path);
  // As it was named: from its directory, or from the root.
  return readFileSync(sockets, "utf8")
    .split("\n")
    .some((line) => (line.endsWith(` ${path}`) || line.endsWith(` ${basename(path)}`)) && line.split(" ")[3] === LISTENING);
}
const LISTENING = "00010000";

export interface Outcome {
  status: number | null;
  output: string;
}

export class Servers {
  readonly dir: string;
  readonly #children: ChildProcess[] = [];

  constructor(name: string) {
    this.dir = mkdtempSync(join(tmpdir(), `blockcore-${name}-`));
    process.on("exit", () => {
      for (const child of this.#children) child.kill("SIGKILL");
      rmSync(this.dir, { recursive: true, force: true });
    });
  }

  /** The path of a file of the test. */
  path = (name: string): string => join(this.dir, name);

  /** Runs a program to its end, whatever that is. */
  try = (program: string, ...args: string[]): Outcome => {
    const result = spawnSync(program, args, { cwd: this.dir, encoding: "utf8", timeout: 60_000 });
    return { status: result.status, output: `${result.stdout}${result.stderr}` };
  };

  /** Runs a program that must succeed; what it printed. */
  run = (program: string, ...args: string[]): string => {
    const result = spawnSync(program, args, { cwd: this.dir, encoding: "utf8", timeout: 60_000 });
    assert.is(result.status, 0, `${program} ${args.join(" ")}: ${result.stdout}${result.stderr}`);
    return result.stdout;
  };

  /** Starts a server and waits until it listens on its Unix socket. What it complains about goes to `SOCKET.log`. */
  start = async (socket: string, program: string, ...args: string[]): Promise<ChildProcess> => {
    const log = openSync(this.path(`${socket}.log`), "a");
    const child = spawn(program, args, { cwd: this.dir, stdio: ["ignore", "ignore", log] });
    closeSync(log);
    this.#children.push(child);
    for (let tries = 0; !listens(this.path(socket)); tries++) {
      assert.ok(tries < 400, `${program} does not listen: ${readFileSync(this.path(`${socket}.log`), "utf8")}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return child;
  };

  stop = async (child: ChildProcess): Promise<void> => {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await ended;
  };

  /** The URI of an export on a Unix socket of the test. */
  uri = (socket: string, name = ""): string => `nbd+unix:///${name}?socket=${this.path(socket)}`;
}
