/** What a migration is told before it starts: capabilities and parameters. Of most only the names mean something: there is no RAM. */
import { encodeText } from "../../../../src/base/bytes.js";
import { BlockError } from "../../../../src/base/error.js";
import { MAX_BITMAP_NAME } from "../../../../src/block/named-bitmap.js";
import { isWellFormedId } from "../../../../src/qapi/options.js";

export const CAPABILITIES = [
  "xbzrle",
  "rdma-pin-all",
  "auto-converge",
  "zero-blocks",
  "compress",
  "events",
  "postcopy-ram",
  "x-colo",
  "release-ram",
  "block",
  "return-path",
  "pause-before-switchover",
  "multifd",
  "dirty-bitmaps",
  "postcopy-blocktime",
  "late-block-activate",
  "x-ignore-shared",
  "validate-uuid",
  "background-snapshot",
  "zero-copy-send",
  "postcopy-preempt",
] as const;
export type Capability = (typeof CAPABILITIES)[number];

export interface BitmapAlias {
  readonly name: string;
  readonly alias: string;
  readonly transform?: { readonly persistent?: boolean | undefined } | undefined;
}
export interface NodeAlias {
  readonly "node-name": string;
  readonly alias: string;
  readonly bitmaps: readonly BitmapAlias[];
}

/** Longest name in the stream, in bytes. */
export const MAX_NAME = 255;
const MAX_NODE_NAME = 31;

export class Settings {
  readonly capabilities: Set<Capability> = new Set();
  /** How nodes and bitmaps are called in the stream; null: by their names. */
  mapping: readonly NodeAlias[] | null = null;
  /** Parameters that only show. */
  readonly numbers: Map<string, number> = new Map();

  /** @throws BlockError when a name is not one, or two go by the same */
  setMapping(mapping: readonly NodeAlias[]): void {
    const refuse = (message: string): never => {
      throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid mapping given for block-bitmap-mapping: ${message}`);
    };
    const nodes = new Set<string>();
    const aliases = new Set<string>();
    for (const { "node-name": node, alias, bitmaps } of mapping) {
      if (!isWellFormedId(alias)) refuse(`The node alias '${alias}' is not well-formed`);
      if (encodeText(alias).length > MAX_NAME) refuse(`The node alias '${alias}' is longer than ${MAX_NAME} bytes`);
      if (encodeText(node).length > MAX_NODE_NAME) refuse(`The node name '${node}' is longer than ${MAX_NODE_NAME} bytes`);
      if (nodes.has(node)) refuse(`The node name '${node}' is mapped twice`);
      if (aliases.has(alias)) refuse(`The node alias '${alias}' is used twice`);
      nodes.add(node);
      aliases.add(alias);
      const names = new Set<string>();
      const shown = new Set<string>();
      for (const bitmap of bitmaps) {
        if (encodeText(bitmap.alias).length > MAX_NAME)
          refuse(`The bitmap alias '${bitmap.alias}' is longer than ${MAX_NAME} bytes`);
        if (encodeText(bitmap.name).length > MAX_BITMAP_NAME)
          refuse(`The bitmap name '${bitmap.name}' is longer than ${MAX_BITMAP_NAME} bytes`);
        if (names.has(bitmap.name)) refuse(`The bitmap '${node}'/'${bitmap.name}' is mapped twice`);
        if (shown.has(bitmap.alias)) refuse(`The bitmap alias '${alias}'/'${bitmap.alias}' is used twice`);
        names.add(bitmap.name);
        shown.add(bitmap.alias);
      }
    }
    this.mapping = mapping;
  }
}
