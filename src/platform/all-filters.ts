/** Every filter of this build: one line each. */
import type { Driver } from "../block/driver.js";
import { blkdebug } from "../filters/blkdebug/blkdebug.js";
import { blklogwrites } from "../filters/blklogwrites.js";
import { blkverify } from "../filters/blkverify.js";
import { compress } from "../filters/compress.js";
import { copyBeforeWrite } from "../filters/copy-before-write.js";
import { copyOnRead } from "../filters/copy-on-read.js";
import { preallocate } from "../filters/preallocate.js";
import { quorum } from "../filters/quorum.js";
import { snapshotAccess } from "../filters/snapshot-access.js";
import { throttle } from "../filters/throttle.js";

export const allFilters: readonly Driver[] = [
  blkdebug,
  blklogwrites,
  blkverify,
  compress,
  copyBeforeWrite,
  copyOnRead,
  preallocate,
  quorum,
  snapshotAccess,
  throttle,
];
