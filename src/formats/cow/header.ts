/** The header of cow version 2 images, as QEMU up to 2.1 laid it out on 64-bit machines: big-endian, 1056 bytes, then the bitmap. */
import { BlockError } from "../../base/error.js";
import { encodeText, readText, readU64BE, viewOf, writeU64BE } from "../../base/bytes.js";
import { alignUp, divCeil } from "../../base/int.js";

export const COW_HEADER_BYTES = 1056;
export const COW_SECTOR = 512;
const MAGIC = 0x4f4f4f4d;
const NAME_AT = 8;
const NAME_BYTES = 1024;
const SIZE_AT = 1040;

export interface CowHeader {
  backingFile: string | null;
  /** Virtual size in bytes, whole sectors. */
  size: number;
}

export function isCow(head: Uint8Array): boolean {
  if (head.length < COW_HEADER_BYTES) return false;
  const view = viewOf(head);
  return view.getUint32(0) === MAGIC && view.getUint32(4) === 2;
}

/** Where the guest's data begins: the first sector behind header and bitmap. */
export function dataOffset(size: number): number {
  return alignUp(COW_HEADER_BYTES + divCeil(size / COW_SECTOR, 8), COW_SECTOR);
}

export function decodeCowHeader(bytes: Uint8Array): CowHeader {
  if (bytes.length < COW_HEADER_BYTES || viewOf(bytes).getUint32(0) !== MAGIC) {
    throw new BlockError("ERR_NOT_THIS_FORMAT", "Image not in COW format");
  }
  const view = viewOf(bytes);
  const version = view.getUint32(4);
  if (version !== 2)
    throw new BlockError(
      "ERR_UNSUPPORTED",
      `Block format 'cow' used by device '' does not support feature 'COW version ${version}'`,
      { offset: 4 },
    );
  const stored = readU64BE(view, SIZE_AT);
  const size = stored - (stored % COW_SECTOR);
  if (!Number.isSafeInteger(size) || !Number.isSafeInteger(dataOffset(size) + size))
    throw new BlockError("ERR_TOO_LARGE", "Image is too big", { errno: "EFBIG", offset: SIZE_AT });
  const name = readText(bytes.subarray(NAME_AT, NAME_AT + NAME_BYTES));
  return { backingFile: name === "" ? null : name, size };
}

export function encodeCowHeader(header: CowHeader): Uint8Array {
  const bytes = new Uint8Array(COW_HEADER_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, MAGIC);
  view.setUint32(4, 2);
  if (header.backingFile !== null) {
    const name = encodeText(header.backingFile);
    if (name.length >= NAME_BYTES) throw new BlockError("ERR_INVALID_ARGUMENT", "Backing file name too long");
    bytes.set(name, NAME_AT);
  }
  writeU64BE(view, SIZE_AT, header.size);
  view.setUint32(SIZE_AT + 8, COW_SECTOR);
  return bytes;
}
