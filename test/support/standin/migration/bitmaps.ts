/** Dirty bitmaps on their way from one stand-in to another. */
import { encodeText } from "../../../../src/base/bytes.js";
import { BlockError } from "../../../../src/base/error.js";
import { addBitmap, checkBitmap, findBitmap, type NamedBitmap } from "../../../../src/block/named-bitmap.js";
import type { Node } from "../../../../src/block/node.js";
import type { Op } from "../../../../src/block/op.js";
import type { BlockCore } from "../../../../src/qmp/block-core.js";
import { MAX_NAME, type Settings } from "./settings.js";

/** A bitmap in the stream. */
export interface SentBitmap {
  readonly node: string;
  readonly name: string;
  readonly granularity: number;
  readonly enabled: boolean;
  readonly persistent: boolean;
  /** Offsets and lengths in bytes. */
  readonly runs: readonly (readonly [number, number])[];
}

export interface Leaving {
  readonly bitmap: NamedBitmap;
  readonly node: string;
  readonly name: string;
  readonly persistent: boolean;
}

/** Every bitmap that is to go, by the names it has in the stream. @throws BlockError for one that cannot */
export function collect(core: BlockCore, { mapping }: Settings): Leaving[] {
  const leaving: Leaving[] = [];
  const seen = new Set<Node>();
  const take = (node: Node, shown: string): void => {
    if (seen.has(node)) return;
    seen.add(node);
    const known = mapping?.find(({ "node-name": name }) => name === node.nodeName);
    if (mapping !== null && known === undefined) return;
    for (const bitmap of [...node.bitmaps].reverse()) {
      const alias = known?.bitmaps.find(({ name }) => name === bitmap.name);
      if (known !== undefined && alias === undefined) continue;
      checkBitmap(bitmap);
      const name = alias?.alias ?? bitmap.name;
      if (encodeText(name).length > MAX_NAME) {
        throw new BlockError(
          "ERR_INVALID_ARGUMENT",
          `Cannot migrate bitmap '${name}' on node '${node.nodeName}': Name is longer than ${MAX_NAME} bytes`,
        );
      }
      leaving.push({
        bitmap,
        node: known?.alias ?? shown,
        name,
        persistent: alias?.transform?.persistent ?? bitmap.persistent,
      });
    }
  };
  // Disks go by the names of their drives.
  if (mapping === null)
    for (const { name, medium } of core.devices.values()) if (medium !== null && name !== "") take(medium, name);
  for (const node of core.nodes.all()) {
    if (mapping === null && node.nodeName.startsWith("#") && node.bitmaps.length > 0 && !seen.has(node)) {
      throw new BlockError(
        "ERR_INVALID_ARGUMENT",
        `Bitmap '${node.bitmaps.at(-1)!.name}' in a node with auto-generated name '${node.nodeName}' can't be migrated`,
      );
    }
    take(node, node.nodeName);
  }
  return leaving;
}

export function* content({ bitmap, node, name, persistent }: Leaving): Op<SentBitmap> {
  const bits = yield* bitmap.load();
  const runs = [...bits.runs()].map(({ offset, length }) => [offset, length] as const);
  return { node, name, granularity: bitmap.granularity, enabled: bitmap.enabled, persistent, runs };
}

/** A bitmap that has arrived. @throws BlockError when there is no place for it */
export function* arrive(core: BlockCore, { mapping }: Settings, sent: SentBitmap): Op<void> {
  const known = mapping?.find(({ alias }) => alias === sent.node);
  if (mapping !== null && known === undefined) throw new BlockError("ERR_NOT_FOUND", `Unknown node alias '${sent.node}'`);
  const nodeName = known?.["node-name"] ?? sent.node;
  const alias = known?.bitmaps.find((each) => each.alias === sent.name);
  if (known !== undefined && alias === undefined) {
    throw new BlockError("ERR_NOT_FOUND", `Unknown bitmap alias '${sent.name}' on node '${nodeName}' (alias '${sent.node}')`);
  }
  const name = alias?.name ?? sent.name;
  const node = core.devices.get(nodeName)?.medium ?? core.lookup(nodeName, nodeName);
  if (findBitmap(node, name) !== null) {
    throw new BlockError(
      "ERR_EXISTS",
      `Bitmap with the same name ('${name}') already exists on destination, cancel bitmap migration`,
    );
  }
  const bitmap = addBitmap(node, { name, granularity: sent.granularity, disabled: !sent.enabled });
  // Whether the image can keep it is seen when it is to.
  bitmap.persistent = alias?.transform?.persistent ?? sent.persistent;
  const bits = yield* bitmap.load();
  for (const [offset, length] of sent.runs) bits.set(offset, length);
}
