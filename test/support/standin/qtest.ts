/** The socket by which a test drives the machine: it is kept open, time can be moved on, everything else has no effect. */
import { connect } from "node:net";
import type { ManualClock } from "../../../src/base/clock.js";

export interface Qtest {
  end(): void;
}

/** `unix:path=S` or `unix:S`. Logs on the standard error when it begins and ends, as QEMU does. */
export function connectQtest(address: string, clock: ManualClock): Promise<Qtest> {
  const path = /^unix:(?:path=)?([^,]*)/.exec(address)?.[1];
  if (path === undefined) throw new Error(`-qtest ${address}: only Unix sockets`);
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let text = "";
    socket.on("error", reject);
    socket.on("connect", () => {
      socket.off("error", reject);
      socket.on("error", () => {});
      socket.unref();
      const since = Date.now() / 1000;
      process.stderr.write(`[I ${since.toFixed(6)}] OPENED\n`);
      resolve({ end: () => void process.stderr.write(`[I +${(Date.now() / 1000 - since).toFixed(6)}] CLOSED\n`) });
    });
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      const lines = text.split("\n");
      text = lines.pop()!;
      for (const line of lines) socket.write(`${answer(line.trim(), clock)}\n`);
    });
  });
}

function answer(line: string, clock: ManualClock): string {
  const [command, ...words] = line.split(/\s+/);
  if (command === "clock_step") {
    const next = clock.next;
    const ms = words[0] === undefined ? (next === null ? 0 : next - clock.now()) : Number(words[0]) / 1e6;
    clock.advance(Math.max(0, ms));
    return `OK ${Math.round(clock.now() * 1e6)}`;
  }
  return "OK";
}
