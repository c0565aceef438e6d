/** `--add-fd`: a descriptor that the program has inherited, for "/dev/fdset/SET". */
import { BlockError } from "../base/error.js";
import { optsToObject, parseOpts } from "../qapi/options.js";
import { descriptorSets } from "../storage/node-descriptors.js";

/** @throws BlockError in QEMU's words */
export function addDescriptor(text: string): void {
  const { fd, set, opaque, ...others } = optsToObject(parseOpts(text, "fd"));
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid parameter '${unknown}'`);
  const number = (value: unknown): number => (typeof value === "string" && /^[0-9]+$/.test(value) ? Number(value) : -1);
  descriptorSets.add(number(fd), number(set), typeof opaque === "string" ? opaque : undefined);
}
