/** The end of a bundle for a browser's dedicated worker: waits for the word go, runs the tests, sends the results. */
import { runPortable } from "../support/portable-uvu.js";
import type { Place } from "../support/portable.js";

interface WorkerScope {
  onmessage: ((event: { data: Place & { limitMs: number } }) => void) | null;
  postMessage(message: unknown): void;
  __blockcorePlace?: Place;
}
const scope = globalThis as unknown as WorkerScope;
scope.onmessage = ({ data }) => {
  scope.__blockcorePlace = data;
  void runPortable(data.limitMs).then((results) => scope.postMessage(results));
};
scope.postMessage("ready");

const started = true;
export default started;
