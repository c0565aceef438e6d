/** A QMP client for tests: a daemon started on a unix socket, commands, events. */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";

export type Json = Record<string, unknown>;

export class QmpClient {
  readonly events: Json[] = [];
  readonly #process: ChildProcess;
  readonly #socket: Socket;
  #text = "";
  readonly #replies: ((reply: Json) => void)[] = [];
  #wake: (() => void)[] = [];
  greeting: Json | null = null;
  /** The daemon has ended by itself. */
  dead = false;

  private constructor(process: ChildProcess, socket: Socket) {
    this.#process = process;
    this.#socket = socket;
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => this.#take(text));
    socket.on("error", () => {});
    process.once("exit", () => {
      this.dead = true;
      for (const settle of this.#replies.splice(0)) settle({ dead: true, return: [] });
      for (const wake of this.#wake.splice(0)) wake();
    });
  }

  /** Starts `command` in `cwd` with a QMP socket there; `monitor`: the option that puts a monitor on the chardev "qmp". */
  static async start(
    command: readonly string[],
    cwd: string,
    more: readonly string[] = [],
    monitor: readonly string[] = ["--monitor", "chardev=qmp"],
  ): Promise<QmpClient> {
    const path = join(cwd, "qmp.sock");
    const process = spawn(
      command[0]!,
      [...command.slice(1), "--chardev", `socket,id=qmp,path=${path},server=on,wait=off`, ...monitor, ...more],
      {
        cwd,
        stdio: ["ignore", "ignore", "pipe"],
      },
    );
    let errors = "";
    process.stderr!.on("data", (text: Buffer) => (errors = (errors + text.toString()).slice(-4000)));
    process.once("exit", (code, signal) => {
      if (code !== 0) console.error(`${command.join(" ")} ended: ${code ?? signal}\n${errors}`);
    });
    for (let i = 0; i < 400 && process.exitCode === null; i++) {
      if (existsSync(path)) {
        const socket = await new Promise<Socket | null>((resolve) => {
          const made = connect(path, () => resolve(made));
          made.once("error", () => resolve(null));
        });
        if (socket !== null) {
          const client = new QmpClient(process, socket);
          while (client.greeting === null) await client.#change(5000);
          await client.run({ execute: "qmp_capabilities" });
          return client;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    process.kill("SIGKILL");
    throw new Error(`${command.join(" ")} did not listen: ${errors}`);
  }

  #take(text: string): void {
    this.#text += text;
    for (;;) {
      const end = this.#text.indexOf("\n");
      if (end < 0) break;
      const message = JSON.parse(this.#text.slice(0, end)) as Json;
      this.#text = this.#text.slice(end + 1);
      if ("QMP" in message) this.greeting = message;
      else if ("event" in message) this.events.push(message);
      else this.#replies.shift()?.(message);
    }
    for (const wake of this.#wake.splice(0)) wake();
  }

  #change(ms: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("nothing came in time")), ms);
      this.#wake.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  run(command: Json): Promise<Json> {
    if (this.dead) return Promise.resolve({ dead: true, return: [] });
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer to ${JSON.stringify(command)}`)), 10_000);
      this.#replies.push((reply) => {
        clearTimeout(timer);
        resolve(reply);
      });
      this.#socket.write(`${JSON.stringify(command)}\n`);
    });
  }

  /** Waits for an event that has come since `from` or comes now. */
  async waitFor(from: number, wanted: (event: Json) => boolean): Promise<void> {
    for (let at = from; ;) {
      while (at < this.events.length) if (wanted(this.events[at++]!)) return;
      if (this.dead) return;
      await this.#change(4000);
    }
  }

  async quit(): Promise<void> {
    const { exitCode, signalCode } = this.#process;
    const ended = new Promise<void>((resolve) =>
      exitCode !== null || signalCode !== null ? resolve() : this.#process.once("exit", () => resolve()),
    );
    this.#socket.write('{"execute":"quit"}\n');
    const timer = setTimeout(() => this.#process.kill("SIGKILL"), 5000);
    await ended;
    clearTimeout(timer);
    this.#socket.destroy();
  }
}
