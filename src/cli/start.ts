/** How every program starts: V8 is set up, and the program's bundle is run with the code that an earlier run compiled. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname } from "node:path";
import { cachedDataVersionTag } from "node:v8";
import { constants, Script } from "node:vm";
import { cacheDirectory, readCode, writeCode } from "./code-cache.js";
import { compileLate } from "./engine.js";

/**
 * Runs the program in `file`, a CommonJS bundle in ASCII. `build` tells its content from that of every other build: V8 compares
 * lengths only.
 */
export function start(file: string, build: string): void {
  compileLate();
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
