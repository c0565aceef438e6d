/** The block layer as command line programs see it: files of the host, and everything an image names may be opened, as in QEMU. */
import { writeSync } from "node:fs";
import type { Environment } from "../block/context.js";
import { done } from "../block/op.js";
import { allowAll, nodeEnvironment, type FileCalls } from "../platform/node-environment.js";
import { readPlatformObjects } from "./platform-objects.js";
import { readSecrets } from "./secrets.js";
import { readThrottleGroups } from "./throttle-groups.js";

export interface CliEnvironmentOptions {
  /** Values of `--object`. */
  objects: readonly string[];
  /** Called with messages that are not errors, with their prefix. */
  warn: (message: string) => void;
  notice?: (message: string) => void;
  /** Called with errors that belong to no command. */
  report?: (message: string) => void;
  debugMessage?: (message: string) => void;
  /** Brings out what has been printed; the program ends when this returns. */
  flush?: () => void;
  faces?: FileCalls;
}

export function cliEnvironment(options: CliEnvironmentOptions): Environment {
  const secrets = readSecrets(options.objects);
  const groups = readThrottleGroups(options.objects);
  const others = readPlatformObjects(options.objects, secrets);
  return nodeEnvironment({
    gate: allowAll,
    findObject: (id) => others.get(id),
    findThrottleGroup: (name) => groups.get(name) ?? null,
    warn: options.warn,
    secrets: (id) => done(secrets.get(id) ?? null),
    ...(options.notice === undefined ? {} : { notice: options.notice }),
    // A program under blkverify must not go on with one of two different contents.
    imagesDiffer: (message) => {
      options.flush?.();
      writeSync(2, `${message}\n`);
      process.exit(1);
    },
    ...(options.report === undefined ? {} : { report: options.report }),
    ...(options.debugMessage === undefined ? {} : { debugMessage: options.debugMessage }),
    ...(options.faces === undefined ? {} : { faces: options.faces }),
  });
}
