/** Every format of this build: one line each. Entries that want less name their own. */
import type { Driver } from "../block/driver.js";
import { asif } from "../formats/asif/asif.js";
import { bochs } from "../formats/bochs/bochs.js";
import { cloop } from "../formats/cloop/cloop.js";
import { cow } from "../formats/cow/cow.js";
import { dmg } from "../formats/dmg/dmg.js";
import { luks } from "../formats/luks/luks.js";
import { parallels } from "../formats/parallels/parallels.js";
import { qcow } from "../formats/qcow/qcow.js";
import { qcow2 } from "../formats/qcow2/qcow2.js";
import { qed } from "../formats/qed/qed.js";
import { raw } from "../formats/raw/raw.js";
import { vdi } from "../formats/vdi/vdi.js";
import { vhdx } from "../formats/vhdx/vhdx.js";
import { vmdk } from "../formats/vmdk/vmdk.js";
import { vpc } from "../formats/vpc/vpc.js";

export const allFormats: readonly Driver[] = [
  raw,
  qcow2,
  dmg,
  vdi,
  vpc,
  vhdx,
  vmdk,
  parallels,
  bochs,
  cloop,
  luks,
  qed,
  qcow,
  cow,
  asif,
];
