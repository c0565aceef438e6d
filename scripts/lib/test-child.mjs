// Runs one transpiled test file in this process: import it, then let uvu execute what it registered.
// (uvu by itself starts on a timer, which is too early for a file that awaits between two suites.)
import { pathToFileURL } from "node:url";

globalThis.UVU_DEFER = 1;
globalThis.UVU_INDEX = 0;
const uvu = await import("uvu");
globalThis.UVU_QUEUE[0] = [null];
await import(pathToFileURL(process.argv[2]).href);
await uvu.exec();
// What was said goes out first: output that waits for a parent without time to read it is no leak.
for (const stream of [process.stdout, process.stderr]) await new Promise((sent) => stream.write("", sent));

// What keeps the process alive now was leaked by a test: a server, a timer, a child process, an open handle.
setTimeout(() => {
  console.error(`the tests are done, but the process stays alive: ${process.getActiveResourcesInfo().join(", ")}`);
  process.exit(1);
}, 2000).unref();
