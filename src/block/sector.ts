/** Disks consist of sectors, files do not: a file may end within the disk's last one, which reads as zeros from there on. */
import { alignUp } from "../base/int.js";
import type { Node } from "./node.js";

/** Bytes. */
export const SECTOR = 512;

/** Size in bytes of a node as a disk, rounded up to sectors as QEMU sees it. */
export function diskSize(node: Node): number {
  return alignUp(node.size, SECTOR);
}
