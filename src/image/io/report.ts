/** qemu-io's reports: statistics of a request, and memory as text. */
import { formatIoReport } from "../../base/format.js";

/** What a command tells about one request of `count` bytes; `machine`: one line of comma-separated values (-C). */
export function ioReport(verb: string, offset: number, count: number, ms: number, machine: boolean): string {
  const seconds = Math.max(ms, 1e-6) / 1000;
  return `${formatIoReport({ operation: verb, offset, requested: count, done: count, operations: 1, seconds, terse: machine })}\n`;
}

/** Sixteen bytes a line: offset, hexadecimal, letters and digits. */
export function dumpText(bytes: Uint8Array, offset: number): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = bytes.subarray(at, at + 16);
    let hex = "";
    let text = "";
    for (const byte of row) {
      hex += `${byte.toString(16).padStart(2, "0")} `;
      const character = String.fromCharCode(byte);
      text += /[0-9A-Za-z]/.test(character) ? character : ".";
    }
    lines.push(`${(offset + at).toString(16).padStart(8, "0")}:  ${hex} ${text}\n`);
  }
  return lines.join("");
}
