/** Disks inside an OVA: found by its descriptor and opened in place, without unpacking. */
import { decodeText } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import type { Environment, OpenFlags } from "../../block/context.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { openNode } from "../../block/open.js";
import type { Op } from "../../block/op.js";
import { MAX_OVF_BYTES, parseOvf } from "./ovf.js";
import { listTar, type TarMember } from "./tar.js";

export interface OvaDisk {
  /** The descriptor's name of the disk; the file name where there is no descriptor. */
  id: string;
  /** Name of the member that holds it. */
  filename: string;
  /** Where it is in the OVA, in bytes. */
  offset: number;
  size: number;
  /** Virtual size as the descriptor says it; null when it does not. */
  capacity: number | null;
}

export interface OvaContents {
  members: TarMember[];
  /** In the order of the descriptor. */
  disks: OvaDisk[];
}

const baseName = (name: string): string => name.slice(name.lastIndexOf("/") + 1);

/**
 * Lists what is in an OVA. Disks that have no file in it (empty ones, those at other places) are left out.
 * @throws BlockError ERR_NOT_THIS_FORMAT when it is no tar archive or has neither descriptor nor VMDK
 */
export function* readOva(file: Node): Op<OvaContents> {
  const members = yield* listTar(file);
  const descriptor = members.find(({ name }) => name.toLowerCase().endsWith(".ovf"));
  if (descriptor === undefined) {
    const images = members.filter(({ name }) => name.toLowerCase().endsWith(".vmdk"));
    if (images.length === 0)
      throw new BlockError("ERR_NOT_THIS_FORMAT", `'${file.filename}' is no OVA: it holds neither an OVF descriptor nor a VMDK`);
    return {
      members,
      disks: images.map(({ name, offset, size }) => ({ id: name, filename: name, offset, size, capacity: null })),
    };
  }
  if (descriptor.size > MAX_OVF_BYTES) throw new BlockError("ERR_TOO_LARGE", `The OVF descriptor has ${descriptor.size} bytes`);
  const disks: OvaDisk[] = [];
  for (const disk of parseOvf(decodeText(yield* readBytes(file, descriptor.offset, descriptor.size)))) {
    const { href, id, capacity, compression } = disk;
    if (href === null || /^[a-z][a-z0-9+.-]*:/i.test(href)) continue;
    const found = members.find(({ name }) => name === href) ?? members.find(({ name }) => baseName(name) === href);
    if (found === undefined) throw new BlockError("ERR_NOT_FOUND", `OVA: the file '${href}' of disk '${id}' is missing`);
    if (compression !== "" && compression !== "identity")
      throw new BlockError("ERR_UNSUPPORTED", `OVA: the file '${href}' is compressed as a whole (${compression})`);
    disks.push({ id, filename: found.name, offset: found.offset, size: found.size, capacity });
  }
  return { members, disks };
}

/** Opens a disk of an OVA read-only. `file` stays the caller's; the node holds a reference of its own. */
export function openOvaDisk(environment: Environment, file: Node, disk: OvaDisk, flags: Partial<OpenFlags> = {}): Op<Node> {
  const window = { driver: "raw", offset: disk.offset, size: disk.size, file };
  return openNode(environment, { driver: "vmdk", options: { file: window }, flags: { ...flags, write: false } });
}
