/** `reopen` of the monitor's qemu-io: other options for the medium of a drive, or for a node. */
import { toBlockError } from "../../base/error.js";
import type { BlockdevOptions } from "../../block/context.js";
import { runAsync } from "../../block/op.js";
import { keepingOptions } from "../../block/reopen-keeping.js";
import { reopenNodes } from "../../block/reopen-nodes.js";
import type { ReopenRequest } from "../../image/io/reopen.js";
import type { IoSession } from "../../image/io/session.js";

/** @param attached the guest has been told how writes are cached */
export async function reopenFromMonitor(
  session: IoSession,
  { options, write, cache }: ReopenRequest,
  attached: boolean,
): Promise<boolean> {
  const node = session.node!;
  if (cache !== null && attached && cache.writethrough !== node.flags.writethrough) {
    session.report("Cannot change cache.writeback: Device attached");
    return false;
  }
  const { direct, noFlush } = cache ?? node.flags;
  const given = options["cache"] as BlockdevOptions | undefined;
  const change: BlockdevOptions = { ...options, cache: { direct, "no-flush": noFlush, ...given } };
  if (write !== null || change["read-only"] === undefined) change["read-only"] = write === null ? node.readOnly : !write;
  try {
    await runAsync(reopenNodes([{ node, options: keepingOptions(node, change) }]));
  } catch (error) {
    session.report(toBlockError(error).message);
    return false;
  }
  if (cache !== null) node.flags = { ...node.flags, writethrough: cache.writethrough };
  return true;
}
