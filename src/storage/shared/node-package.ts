/** Optional packages: loaded when first needed. */
import { createRequire } from "node:module";
import { BlockError } from "../../base/error.js";

/**
 * By `require`: programs that run from V8's cache (`cli/start.ts`) have no `import()`.
 * @throws BlockError ERR_UNSUPPORTED: `what` needs it, and it is not there
 */
export function optionalPackage(name: string, what: string): unknown {
  try {
    return createRequire(import.meta.url)(name);
  } catch (cause) {
    throw new BlockError("ERR_UNSUPPORTED", `${what} needs the package '${name}', which is not installed (npm install ${name})`, {
      cause,
    });
  }
}
