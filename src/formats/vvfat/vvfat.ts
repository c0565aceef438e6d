/**
 * vvfat: a directory of the host as a disk with a FAT file system (docs/formats/vvfat.md).
 *
 * Options (QAPI `BlockdevOptionsVVFAT`): dir, fat-type (12, 16, 32), floppy, label, rw. As a name: `fat:[12:|16:|32:][floppy:][rw:]DIR`.
 */
import { encodeText } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import type { OpenContext } from "../../block/context.js";
import type { Driver, InterceptImpl } from "../../block/driver.js";
import type { Op } from "../../block/op.js";
import { take, takeBool, takeSize, takeString } from "../../block/take.js";
import type { Directory } from "../../storage/directory.js";
import type { Storage } from "../../storage/storage.js";
import { buildVolume } from "./build.js";
import { Disk } from "./disk.js";
import { HostDirectory } from "./host-directory.js";
import { FatImage, readOnlyDisk, WritableFatImage } from "./image.js";
import { makeLayout } from "./layout.js";
import { NAME_LENGTH } from "./names.js";
import { Overlay } from "./overlay.js";

const OPTIONS = ["dir", "fat-type", "floppy", "label", "rw"] as const;
const DEFAULT_LABEL = "QEMU VVFAT";

export interface VvfatPlatform {
  /** What the option `dir` names. Throws a BlockError. */
  openDirectory(dir: unknown, writable: boolean): Directory;
  /** An empty storage for what a guest has written and its files do not hold yet: at most the size of the disk (504 MiB). */
  scratch(): Storage;
}

export function vvfatDriver(platform: VvfatPlatform): Driver {
  return {
    name: "vvfat",
    category: "protocol",
    schemes: ["fat"],
    runtimeOptions: OPTIONS,
    strongOptions: OPTIONS,
    parseFilename,
    exactFilename: () => "",
    open: (context) => openDisk(platform, context),
  };
}

/** Flags may be anywhere before the directory, which begins behind the last colon; a letter before that is a drive. */
function parseFilename(filename: string): Record<string, unknown> {
  if (!filename.startsWith("fat:")) throw new BlockError("ERR_INVALID_ARGUMENT", "File name string must start with 'fat:'");
  const last = filename.lastIndexOf(":");
  const drive = /:[A-Za-z]$/.test(filename.slice(0, last));
  return {
    dir: filename.slice(drive ? last - 1 : last + 1),
    "fat-type": [32, 16, 12].find((type) => filename.includes(`:${type}:`)) ?? 0,
    floppy: filename.includes(":floppy:"),
    rw: filename.includes(":rw:"),
  };
}

function* openDisk(platform: VvfatPlatform, context: OpenContext): Op<InterceptImpl> {
  const { options, environment, node } = context;
  const dir = take(options, "dir");
  if (dir === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", "vvfat block driver requires a 'dir' option");
  const shape: FatOptions = {
    fatType: takeSize(options, "fat-type"),
    floppy: takeBool(options, "floppy"),
    label: takeString(options, "label"),
  };
  const writable = takeBool(options, "rw") ?? false;
  const { flags } = context;
  if (writable && !flags.write) {
    throw new BlockError("ERR_PERMISSION", "Unable to set VVFAT to 'rw' when drive is read-only", { errno: "EPERM" });
  }
  if (!writable && flags.write) {
    if (node.options["auto-read-only"] !== true && node.options["auto-read-only"] !== "on") throw readOnlyDisk();
    flags.write = false;
  }
  const directory = platform.openDirectory(dir, writable);
  // The node's description is text.
  if (typeof dir !== "string") node.options = { ...node.options, dir: directory.name };
  return yield* openFat(directory, shape, writable ? platform.scratch() : null, environment.warn);
}

export interface FatOptions {
  /** 12, 16 or 32; 0 or absent: 16, on floppies 12. */
  fatType?: number | undefined;
  /** 1.44 MB (FAT12 asked for) or 2.88 MB without a partition table, instead of a hard disk. */
  floppy?: boolean | undefined;
  /** At most 11 bytes; "QEMU VVFAT" when absent. */
  label?: string | undefined;
}

/**
 * A directory as a disk. It closes the directory, also when it cannot be opened.
 *
 * @param scratch empty, for the guest's writes; null: it cannot write
 */
export function* openFat(
  directory: Directory,
  options: FatOptions,
  scratch: Storage | null,
  warn: (message: string) => void,
): Op<FatImage | WritableFatImage> {
  const host = new HostDirectory(directory);
  try {
    const label = labelBytes(options.label ?? DEFAULT_LABEL);
    const layout = makeLayout(options);
    const volume = yield* buildVolume(host, layout, label);
    if (scratch === null) return new FatImage(new Disk(layout, host, label, volume, null, warn));
    const overlay = new Overlay(scratch, layout.totalSectors);
    return new WritableFatImage(new Disk(layout, host, label, volume, overlay, warn), overlay);
  } catch (error) {
    yield* host.close();
    throw error;
  }
}

function labelBytes(text: string): Uint8Array {
  const bytes = encodeText(text);
  if (bytes.length > NAME_LENGTH) {
    throw new BlockError("ERR_INVALID_ARGUMENT", `vvfat label cannot be longer than ${NAME_LENGTH} bytes`);
  }
  const label = new Uint8Array(NAME_LENGTH).fill(0x20);
  label.set(bytes);
  return label;
}
