/**
 * `BlockCore` wherever the package runs: a mirror and a backup under a guest that writes, a monitor over a MessagePort, all in
 * memory. (Chromium runs it over OPFS: test/browser/live.portable.ts.)
 */
import { suite } from "uvu";
import { BlockCore } from "../../src/edge.js";
import { copiesFollow, monitorAnswers, namesAreGiven } from "../support/live-cases.js";

const live = suite("BlockCore");
live("mirror, backup and commit of a disk that is written", () => copiesFollow(new BlockCore(), "", ""));
live("a monitor over a MessagePort", () => monitorAnswers(new BlockCore()));

/** What workerd connects a worker with; both ends are in this one. */
type Pair = new () => Record<"0" | "1", { accept(): void }>;
const { WebSocketPair } = globalThis as { WebSocketPair?: Pair };
if (WebSocketPair !== undefined) {
  live("a monitor over a WebSocket", () => {
    const pair = new WebSocketPair();
    pair[0].accept();
    pair[1].accept();
    return monitorAnswers(new BlockCore(), [pair[0], pair[1]]);
  });
}
live("only files that were given are opened", () => namesAreGiven((options) => new BlockCore(options)));
live.run();
