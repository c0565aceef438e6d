/** `map` and `alloc`: what the top layer holds. */
import { strerror, toBlockError } from "../../base/error.js";
import { formatIoSize as sizeText } from "../../base/format.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { layerStatus } from "../../block/status.js";
import { readNumber } from "./arguments.js";
import { imageSize } from "../open.js";
import type { Command } from "./command.js";

interface Run {
  start: number;
  length: number;
  allocated: boolean;
}

/** Adjacent runs of one kind come as one. */
function* forEachRun(node: Node, from: number, to: number, visit: (run: Run) => void): Op<void> {
  let run: Run | null = null;
  for (let at = from; at < to;) {
    const status = yield* layerStatus(node, at, to - at, false);
    if (run !== null && run.allocated === status.allocated) run.length += status.length;
    else {
      if (run !== null) visit(run);
      run = { start: at, length: status.length, allocated: status.allocated };
    }
    at += status.length;
  }
  if (run !== null) visit(run);
}

const hex = (value: number): string => `0x${value.toString(16)}`;

export const mapCommand: Command = {
  name: "map",
  min: 0,
  max: 0,
  usage: "",
  summary: "prints the allocated areas of a file",
  async run(session) {
    const node = session.node!;
    try {
      await session.request(
        forEachRun(node, 0, imageSize(node), ({ start, length, allocated }) => {
          session.print(
            `${sizeText(length)} (${hex(length)}) bytes ${allocated ? "    allocated" : "not allocated"} at offset ${sizeText(start)} (${hex(start)})\n`,
          );
        }),
      );
    } catch (error) {
      session.report(`Failed to get allocation status: ${strerror(toBlockError(error).errno)}`);
      return "failed";
    }
    return "done";
  },
};

export const allocCommand: Command = {
  name: "alloc",
  alias: "a",
  min: 1,
  max: 2,
  usage: "offset [count]",
  summary: "checks if offset is allocated in the file",
  async run(session, words) {
    const start = readNumber(session, words[0]!);
    if (start === null) return "failed";
    let count = 512;
    if (words[1] !== undefined) {
      const given = readNumber(session, words[1]);
      if (given === null) return "failed";
      count = given;
    }
    const node = session.node!;
    const end = Math.min(imageSize(node), start + count);
    let allocated = 0;
    try {
      await session.request(forEachRun(node, start, end, (run) => void (allocated += run.allocated ? run.length : 0)));
    } catch (error) {
      session.report(`is_allocated failed: ${strerror(toBlockError(error).errno)}`);
      return "failed";
    }
    session.print(`${allocated}/${Math.max(0, end - start)} bytes allocated at offset ${sizeText(start)}\n`);
    return "done";
  },
};
