/** Every format of this build: one line each. Entries that want less name their own. */
import type { Driver } from "./block/driver.js";
import { dmg } from "./formats/dmg/dmg.js";
import { qcow2 } from "./formats/qcow2/qcow2.js";
import { raw } from "./formats/raw/raw.js";

export const allFormats: readonly Driver[] = [raw, qcow2, dmg];
