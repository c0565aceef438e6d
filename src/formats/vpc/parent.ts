/** Finding and opening the parent of a differencing VHD. */
import { equalBytes } from "../../base/bytes.js";
import { BlockError, prefixError } from "../../base/error.js";
import type { OpenContext } from "../../block/context.js";
import { isAbsolutePath, protocolOf } from "../../block/filename.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { isNullUuid, uuidText } from "../shared/uuid.js";
import { utf16, type DynamicHeader, type ParentLocator } from "./dynamic-header.js";
import type { Vhd } from "./identity.js";

/** Longest name a locator may hold, in bytes. */
const MAX_NAME = 65536;
/** Platform codes in the order they are tried. */
const PLATFORMS: readonly string[] = ["W2ru", "MacX", "W2ku"];

/** Names the image gives its parent, best first. */
export function* parentNames(file: Node, header: DynamicHeader): Op<string[]> {
  const names: string[] = [];
  for (const platform of PLATFORMS) {
    for (const locator of header.locators) {
      if (locator.platform !== platform) continue;
      const name = yield* locatorName(file, locator);
      if (name !== null && !names.includes(name)) names.push(name);
    }
  }
  if (header.parentName !== "") {
    const name = plainPath(header.parentName);
    if (!names.includes(name)) names.push(name);
  }
  return names;
}

function* locatorName(file: Node, locator: ParentLocator): Op<string | null> {
  const { length, offset, platform } = locator;
  if (length === 0 || length > MAX_NAME || !(offset + length <= file.size)) return null;
  const bytes = yield* readBytes(file, offset, length);
  if (platform !== "MacX") {
    const name = utf16(bytes, true);
    return name === "" ? null : plainPath(name);
  }
  const url = new TextDecoder().decode(bytes).replace(/\0.*$/s, "");
  const path = /^file:\/\/(?:localhost)?(\/.*)$/s.exec(url)?.[1];
  if (path === undefined) return null;
  try {
    return decodeURIComponent(path);
  } catch {
    return null;
  }
}

/** A Windows path as the platforms we run on understand it; never a protocol name or `json:` description. */
function plainPath(name: string): string {
  if (isAbsolutePath(name)) return name;
  const path = name.replaceAll("\\", "/").replace(/^(\.\/)+/, "");
  return protocolOf(path) === null ? path : `./${path}`;
}

/** Attaches the parent as the backing child of `context.node`, through the gate; returns the name it was found under. */
export function* openParent(context: OpenContext, header: DynamicHeader, names: readonly string[]): Op<string> {
  let failure: unknown;
  for (const filename of names) {
    try {
      const child = yield* context.openReference(
        "backing",
        "backing",
        { kind: "parent", filename, format: "vpc" },
        { write: false, unmap: false, check: false },
      );
      checkIdentity(child.node, header, filename);
      return filename;
    } catch (error) {
      failure ??= error;
      if (!(error instanceof BlockError) || error.code !== "ERR_NOT_FOUND") break;
    }
  }
  throw prefixError("Could not open parent file: ", failure);
}

function checkIdentity(parent: Node, header: DynamicHeader, name: string): void {
  const identity = (parent.impl as Partial<Vhd>).identity;
  if (identity === undefined || isNullUuid(header.parentUuid) || equalBytes(identity.uuid, header.parentUuid)) return;
  throw new BlockError(
    "ERR_CORRUPT",
    `'${name}' is not the parent this image was made from: its UUID is ${uuidText(identity.uuid)}, not ${uuidText(header.parentUuid)}`,
  );
}
