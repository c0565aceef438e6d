/** Every action a transaction may have: a new one is a file and a line here. */
import type { Action } from "./action.js";
import { abort } from "./actions/abort.js";
import { bitmapAdd } from "./actions/bitmap-add.js";
import { bitmapClear } from "./actions/bitmap-clear.js";
import { bitmapDisable, bitmapEnable } from "./actions/bitmap-enable.js";
import { bitmapMerge } from "./actions/bitmap-merge.js";
import { bitmapRemove } from "./actions/bitmap-remove.js";
import { blockdevBackup } from "./actions/blockdev-backup.js";
import { blockdevSnapshot } from "./actions/blockdev-snapshot.js";
import { blockdevSnapshotSync } from "./actions/blockdev-snapshot-sync.js";
import { driveBackup } from "./actions/drive-backup.js";
import { internalSnapshot } from "./actions/internal-snapshot.js";

export const ACTIONS: readonly Action[] = [
  abort,
  bitmapAdd,
  bitmapRemove,
  bitmapClear,
  bitmapEnable,
  bitmapDisable,
  bitmapMerge,
  blockdevBackup,
  blockdevSnapshot,
  internalSnapshot,
  blockdevSnapshotSync,
  driveBackup,
];
