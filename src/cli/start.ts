/** How every program starts: V8 is set up, and the program's bundle is run with the code that an earlier run compiled. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname } from "node:path";
import { cachedDataVersionTag, setFlagsFromString } from "node:v8";
import { constants, Script } from "node:vm";
import { cacheDirectory, readCode, writeCode } from "./code-cache.js";

/**
 * Commands run for less than a second, much of it inside the kernel: compiling what runs a few thousand times costs them more than
 * it saves (half of all CPU time of a copy). What is really hot still gets compiled, a little later. Later versions of V8 have no such
 * flag (they have a quick compiler in between), and say so on the standard error.
 */
const PATIENT_COMPILER = "--interrupt-budget=1000000";
const KNOWS_PATIENCE: boolean = process.versions["v8"]?.startsWith("11.") ?? false;

/**
 * Runs the program in `file`, a CommonJS bundle in ASCII. `build` tells its content from that of every other build: V8 compares
 * lengths only.
 */
export function start(file: string, build: string): void {
  if (KNOWS_PATIENCE) setFlagsFromString(PATIENT_COMPILER);
  const require = createRequire(file);
  const directory = cacheDirectory(process.env, process.platform);
  // Other engines than V8 have a `vm` without what is needed here.
  const loader = (constants as { USE_MAIN_CONTEXT_DEFAULT_LOADER?: number } | undefined)?.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  if (directory === null || loader === undefined) {
    require(file);
    return;
  }
  const name = [basename(file, ".js"), verb(process.argv[2]), build, cachedDataVersionTag().toString(16)].join("-");
  const source = readFileSync(file, "latin1");
  const cachedData = readCode(directory, name);
  const script = new Script(`(function(exports,require,module,__filename,__dirname){${source}\n})`, {
    filename: file,
    importModuleDynamically: loader,
    ...(cachedData === undefined ? {} : { cachedData }),
  });
  // At the end, as only then all functions that the command needs have been compiled.
  if (script.cachedDataRejected !== false) {
    process.once("exit", (code) => {
      if (code === 0) writeCode(directory, name, script.createCachedData());
    });
  }
  const module = { exports: {} };
  (script.runInThisContext() as (...scope: unknown[]) => void)(module.exports, require, module, file, dirname(file));
}

/** Each verb uses other functions: it gets a cache of its own. */
function verb(argument: string | undefined): string {
  return argument !== undefined && /^[a-z]{1,16}$/.test(argument) ? argument : "any";
}
