// time-limit: 240 s
/** Damaged and hostile images of every format but plain qcow2 (see hostile-qcow2), and of encrypted qcow2. */
import { test } from "uvu";
import { skip } from "../support/skip.js";
import { judge } from "./hostile.js";
import { hostileCases, type Duty } from "./outside-data.js";

const FORMATS = new Set(["vdi", "vpc", "parallels", "bochs", "cloop", "dmg", "luks", "qed", "qcow", "vmdk", "vhdx", "raw"]);

/** Where we do otherwise than the derived expectation, and why. */
const OTHERWISE: Readonly<Record<string, Partial<Duty> & { because: string }>> = {
  "dmg-chunk/c0.type=one": {
    read: "error",
    because: "a raw chunk has fewer bytes than its sectors: QEMU gives zeros for what is missing, we say that it is missing",
  },
  "qcow2-luks/ext.length=max": {
    check_rc: 2,
    because: "a LUKS header of 2^63 bytes: QEMU counts it as none and calls its clusters leaked; freeing them would lose the key",
  },
  "qcow2-luks/ext.length=smin": { check_rc: 2, because: "as with the largest length" },
  "qcow-l1/e0=odd": {
    read: "error",
    because: "QEMU, too, fails where the shifted table ends; whoever derived 'ok' did not read there",
  },
  "vmdk-hdr/gd_offset=zero": {
    content_sha256: "0a1a41fe2cdc7dc019cf4d83047e5c97dc2678df244709eccbac99a5dd22cdc0",
    check_rc: 2,
    because:
      "the redundant grain directory still has the content, and a check says that it was needed; QEMU shows zeros and finds nothing",
  },
  "vmdk-gt/dup": { check_rc: 2, because: "two places of the disk have one grain, which QEMU does not look for" },
  "parallels-bat/e1=one": { check_rc: 2, because: "two blocks have one cluster, which QEMU 7.2 does not look for" },
  "parallels-bat/e1=unaligned": { check_rc: 2, because: "two blocks have one cluster, which QEMU 7.2 does not look for" },
  "vdi-hdr/offset_data=big": { check_rc: 2, because: "all blocks lie behind the end of the file, which QEMU does not look for" },
  "vdi-trunc/trunc=1048576": { check_rc: 2, because: "blocks lie behind the end of the file, which QEMU does not look for" },
  "vhdx-region/e0.offset=far": { open: "error", because: "the table lies beyond 2^53 bytes; QEMU takes it for zeros" },
  "vhdx-meta/virtual_size.offset=unaligned": { open: "error", because: "the size that is found there is larger than 64 TB" },
  "vhdx-log/zero-ok": { open: "ok", because: "a good log is replayed in memory where QEMU refuses to open read-only" },
  "vhdx-log/torn-second-entry": { open: "ok", because: "the first entry is a complete sequence: it is replayed in memory" },
};

const cases = await hostileCases(
  [...FORMATS, "qcow2-luks", "qcow2-v2", "qcow2-v3"],
  ({ id, format }) => FORMATS.has(format) || /^qcow2.*(luks|crypt)/.test(id),
);
if (cases === null) test("hostile images", () => skip("the outside images are not there"));
for (const { id, load } of cases ?? []) test(id, () => judge(load(), OTHERWISE[id]));

test.run();
