/** The worker's example, in a worker. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
// @ts-expect-error -- an example is plain JavaScript
import { work } from "../../examples/worker.mjs";

const examples = suite("examples");
examples("worker.mjs", async () => {
  assert.is(await (work as () => Promise<string>)(), "hello from OPFS");
});
examples.run();
