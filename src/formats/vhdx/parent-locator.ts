/** Who the parent of a differencing VHDX is and where it may be found. */
import { equalBytes, viewOf } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { isAbsolutePath, protocolOf } from "../../block/filename.js";
import { Guid } from "./layout.js";

/** A GUID in braces, in UTF-16. */
const LINKAGE_BYTES = 76;
/** Pairs a locator may have; the format knows five keys. */
const MAX_PAIRS = 1024;
let utf16: TextDecoder | null = null;

export interface ParentLocator {
  /** Data write GUIDs the parent may have, as lower-case text without braces. */
  linkages: string[];
  /** Byte offset of the first of them in the item (later: in the file), as UTF-16 text in braces; -1 where it has another form. */
  linkageOffset: number;
  /** File names, best first. */
  names: string[];
}

export function parseParentLocator(bytes: Uint8Array): ParentLocator {
  const broken = (what: string): BlockError =>
    new BlockError("ERR_CORRUPT", `The parent locator of the VHDX is not valid: ${what}`);
  if (bytes.length < 20) throw broken("it is too short");
  if (!equalBytes(bytes.subarray(0, 16), Guid.vhdxParent))
    throw new BlockError("ERR_UNSUPPORTED", "The parent of the VHDX is not a VHDX");
  const view = viewOf(bytes);
  const count = view.getUint16(18, true);
  if (count > MAX_PAIRS || 20 + count * 12 > bytes.length) throw broken(`it has ${count} entries`);
  const values = new Map<string, string>();
  let linkageOffset = -1;
  for (let i = 0; i < count; i++) {
    const at = 20 + i * 12;
    const text = (offset: number, length: number): string => {
      if (offset + length > bytes.length) throw broken(`entry ${i} lies outside of it`);
      return (utf16 ??= new TextDecoder("utf-16le")).decode(bytes.subarray(offset, offset + length)).replace(/\0+$/, "");
    };
    const key = text(view.getUint32(at, true), view.getUint16(at + 8, true));
    if (key === "parent_linkage" && linkageOffset < 0 && view.getUint16(at + 10, true) === LINKAGE_BYTES)
      linkageOffset = view.getUint32(at + 4, true);
    if (!values.has(key)) values.set(key, text(view.getUint32(at + 4, true), view.getUint16(at + 10, true)));
  }
  const linkages: string[] = [];
  for (const key of ["parent_linkage", "parent_linkage2"]) {
    const value = values.get(key);
    if (value !== undefined) linkages.push(value.replace(/[{}]/g, "").toLowerCase());
  }
  const names: string[] = [];
  for (const key of ["relative_path", "volume_path", "absolute_win32_path"]) {
    const value = values.get(key);
    if (value === undefined || value === "" || value.length > 4096) continue;
    const name = plainPath(value);
    if (!names.includes(name)) names.push(name);
  }
  return { linkages, linkageOffset, names };
}

/** A Windows path as the platforms we run on understand it; never a protocol name or `json:` description. */
function plainPath(name: string): string {
  if (isAbsolutePath(name)) return name;
  const path = name.replaceAll("\\", "/").replace(/^(\.\/)+/, "");
  return protocolOf(path) === null ? path : `./${path}`;
}
