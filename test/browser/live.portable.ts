/** `BlockCore` in a dedicated worker: jobs from and to OPFS files, a monitor over a MessagePort. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BlockCore, open } from "../../src/worker.js";
import { copiesFollow, monitorAnswers, namesAreGiven } from "../support/live-cases.js";

const live = suite("BlockCore");
live("mirror, backup and commit of a disk that is written, in OPFS", async () => {
  const root = await navigator.storage.getDirectory();
  try {
    await copiesFollow(new BlockCore(), "opfs:live/", "opfs:live/deep/");
    // Everything is closed: the file can be had again, and is an image.
    const file = await (await (await root.getDirectoryHandle("live")).getDirectoryHandle("deep")).getFileHandle("backup");
    const image = await open(await file.getFile(), { format: "qcow2" });
    assert.is(image.size, 4 << 20);
    await image.close();
  } finally {
    await root.removeEntry("live", { recursive: true });
  }
});
live("a monitor over a MessagePort", () => monitorAnswers(new BlockCore()));
live("only files that were given are opened", () => namesAreGiven((options) => new BlockCore(options)));
live.run();
