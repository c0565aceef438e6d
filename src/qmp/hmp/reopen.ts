/** `reopen` of the monitor's qemu-io. */
import type { IoSession } from "../../image/io/session.js";
import type { ReopenRequest } from "../../image/io/reopen.js";
import type { BlockCore } from "../block-core.js";

export async function reopenFromMonitor(_core: BlockCore, session: IoSession, _change: ReopenRequest): Promise<boolean> {
  session.report("Operation not supported");
  return false;
}
