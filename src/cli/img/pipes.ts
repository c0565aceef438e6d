/** `convert` from standard input and to standard output ("-"): in one pass, without a temporary file: in raw bytes, out raw bytes or a format that can be laid out before it is written. */
import { readSync, writeSync } from "node:fs";
import { systemError } from "../../storage/node-errors.js";
import { foreign, type Op } from "../../block/op.js";
import { createFileWithImage } from "../../image/create-file.js";
import { createOptionTable, formatForCreate, protocolForCreate, readCreateOptions } from "../../image/create-options.js";
import { closeQuietly, openImage, type ImageSpec } from "../../image/open.js";
import { streamIn, type ReadStream, type WriteStream } from "../../image/stream.js";
import { planStream } from "../../image/stream-plan.js";
import type { Environment, OpenFlags } from "../../block/context.js";
import type { Node } from "../../block/node.js";
import type { OperationOptions } from "../../image/signal.js";
import type { Opt } from "../../qapi/options.js";
import { refuse, run } from "./verb.js";

const STDIN = 0;
const STDOUT = 1;
/** Between two tries on a pipe that is not ready. */
const PAUSE_MS = 1;

/** Tries until the pipe is ready; other work goes on meanwhile. */
function* patiently(what: string, attempt: () => number): Op<number> {
  for (;;) {
    try {
      return attempt();
    } catch (error) {
      const code = (error as { code?: unknown }).code;
      if (code === "EOF") return 0;
      if (code !== "EAGAIN" && code !== "EINTR") throw systemError(error, what, {});
      yield* foreign(what, null, () => new Promise<void>((resolve) => setTimeout(resolve, PAUSE_MS)));
    }
  }
}

const fromStdin: ReadStream = (into) =>
  patiently("error while reading from standard input", () => readSync(STDIN, into, 0, into.length, null));

const toStdout: WriteStream = function* (from) {
  for (let at = 0; at < from.length;)
    at += yield* patiently("error while writing to standard output", () => writeSync(STDOUT, from, at, from.length - at));
};

export async function convertFromStdin(
  environment: Environment,
  target: { filename: string; format: string; options: readonly Opt[]; compress: boolean; flags: Partial<OpenFlags> },
  options: OperationOptions,
): Promise<void> {
  const { filename, format, compress } = target;
  const driver = formatForCreate(environment, format);
  const values = readCreateOptions(createOptionTable(driver, protocolForCreate(environment, filename)), target.options);
  if (values["preallocation"] !== undefined && values["preallocation"] !== "off")
    throw refuse("Preallocation needs the size of the image, which standard input does not tell");
  const { size: _size, ...rest } = values;
  await run(createFileWithImage(environment, driver, filename, 0, rest));
  const node = await run(openImage(environment, { filename, format }, { ...target.flags, write: true, unmap: true }));
  try {
    await run(streamIn(fromStdin, node, { ...options, compress }));
  } catch (error) {
    await run(closeQuietly(node));
    throw error;
  }
  await run(node.unref());
}

export async function convertToStdout(
  environment: Environment,
  sources: readonly ImageSpec[],
  target: { format: string; options: readonly Opt[] },
  flags: Partial<OpenFlags>,
  options: OperationOptions,
): Promise<void> {
  const nodes: Node[] = [];
  try {
    for (const spec of sources) nodes.push(await run(openImage(environment, spec, flags)));
    const plan = await run(planStream(environment, nodes, { ...target, ...options }));
    await run(plan.write(toStdout));
  } finally {
    for (const node of nodes) await run(closeQuietly(node));
  }
}
