/** Every format of this build: one line each. Entries that want less name their own. */
import type { Driver } from "./block/driver.js";
import { bochs } from "./formats/bochs/bochs.js";
import { cloop } from "./formats/cloop/cloop.js";
import { dmg } from "./formats/dmg/dmg.js";
import { luks } from "./formats/luks/luks.js";
import { parallels } from "./formats/parallels/parallels.js";
import { qcow2 } from "./formats/qcow2/qcow2.js";
import { raw } from "./formats/raw/raw.js";
import { vdi } from "./formats/vdi/vdi.js";
import { vpc } from "./formats/vpc/vpc.js";

export const allFormats: readonly Driver[] = [raw, qcow2, dmg, vdi, vpc, parallels, bochs, cloop, luks];
