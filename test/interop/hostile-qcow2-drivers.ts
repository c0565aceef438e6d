/** What the hostile qcow2 images need to be opened. */
import type { Driver } from "../../src/block/driver.js";
import { qcow2 } from "../../src/formats/qcow2/qcow2.js";
import { raw } from "../../src/formats/raw/raw.js";

export const qcow2Drivers: readonly Driver[] = [raw, qcow2];
/** Whether encrypted images can be read. */
export const luks = false;
