/** Every filter of this build: one line each. */
import type { Driver } from "./block/driver.js";
import { blkdebug } from "./filters/blkdebug/blkdebug.js";
import { copyOnRead } from "./filters/copy-on-read.js";

export const allFilters: readonly Driver[] = [blkdebug, copyOnRead];
