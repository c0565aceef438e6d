/** The end of a bundle for Deno, Bun and Node: runs the tests and prints the results as one marked line. */
import { runPortable } from "../support/portable-uvu.js";
import type { Place } from "../support/portable.js";

const scope = globalThis as unknown as { process: { env: Record<string, string> }; __blockcorePlace?: Place };
const place = JSON.parse(scope.process.env["BLOCKCORE_PLACE"]!) as Place & { limitMs: number };
scope.__blockcorePlace = place;
// On a timer: the test file itself is a module that must be complete first.
setTimeout(() => {
  void runPortable(place.limitMs).then((results) => console.log(`BLOCKCORE-RESULT ${JSON.stringify(results)}`));
}, 0);

const started = true;
export default started;
