/** The end of a bundle for `workerd test`: a worker whose test handler runs the tests (no I/O happens outside a handler). */
import { runPortable } from "../support/portable-uvu.js";
import type { Place } from "../support/portable.js";

interface Env {
  PLACE: Place & { limitMs: number };
}

const worker: { test(controller: unknown, env: Env): Promise<void> } = {
  async test(_controller, env): Promise<void> {
    (globalThis as { __blockcorePlace?: Place }).__blockcorePlace = env.PLACE;
    console.log(`BLOCKCORE-RESULT ${JSON.stringify(await runPortable(env.PLACE.limitMs))}`);
  },
};
export default worker;
