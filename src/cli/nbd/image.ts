/** The node that qemu-nbd exports: the image with its options, a window of it, a snapshot of it, or a throw-away overlay. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BlockError, prefixError } from "../../base/error.js";
import { parseSize64 } from "../../base/size.js";
import type { Environment, OpenFlags } from "../../block/context.js";
import type { DirtyBitmap } from "../../block/dirty-bitmap.js";
import type { Node } from "../../block/node.js";
import { openNode } from "../../block/open.js";
import { runAsync } from "../../block/op.js";
import { openImage } from "../../image/open.js";
import { loadSnapshot } from "../../image/snapshot-load.js";
import { temporaryOverlay } from "../../image/temporary-overlay.js";
import { cacheFlags } from "../img/verb.js";
import type { ParsedOptions } from "../options.js";

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

export interface Exported {
  /** What clients see. The caller owns one reference. */
  root: Node;
  writable: boolean;
  bitmaps: Map<string, DirtyBitmap>;
}

export async function openExported(environment: Environment, parsed: ParsedOptions): Promise<Exported> {
  const writable = !parsed.has("read-only") && !parsed.has("load-snapshot");
  const offset = offsetOf(parsed);
  const image = await openAsAsked(environment, parsed, writable && !parsed.has("snapshot"));
  let root = image;
  try {
    const snapshot = parsed.get("load-snapshot");
    if (snapshot !== undefined) await runAsync(loadSnapshot(image, snapshot));
    const bitmaps = await bitmapsOf(image, parsed.all("bitmap"));
    if (parsed.has("snapshot")) root = await overlay(environment, root);
    if (offset > 0) root = await windowOf(environment, root, offset);
    return { root, writable, bitmaps };
  } catch (error) {
    await runAsync(root.unref());
    throw error;
  }
}

async function openAsAsked(environment: Environment, parsed: ParsedOptions, write: boolean): Promise<Node> {
  const discard = parsed.get("discard") ?? "unmap";
  if (!["ignore", "off", "unmap", "on"].includes(discard)) throw fail(`Invalid discard mode \`${discard}'`);
  const detect = parsed.get("detect-zeroes");
  if (detect !== undefined && !["off", "on", "unmap"].includes(detect))
    throw fail(`Failed to parse detect_zeroes mode: invalid parameter value: ${detect}`);
  const flags: Partial<OpenFlags> = {
    write,
    unmap: discard === "unmap" || discard === "on",
    ...cacheFlags(parsed.get("cache") ?? (parsed.has("nocache") ? "none" : "writeback"), "Invalid cache mode `%'"),
  };
  const filename = parsed.operands[0]!;
  return await runAsync(
    openImage(
      environment,
      {
        filename,
        format: parsed.get("format"),
        imageOpts: parsed.has("image-opts"),
        options: detect === undefined ? undefined : { "detect-zeroes": detect },
      },
      flags,
    ),
  );
}

function offsetOf(parsed: ParsedOptions): number {
  const text = parsed.get("offset");
  if (text === undefined) return 0;
  const size = /^[0-9]+$|^0[xX]/.test(text) ? parseSize64(text) : null;
  if (size === null || size.status !== "ok" || Number(size.value) > Number.MAX_SAFE_INTEGER)
    throw fail(`Invalid offset '${text}'`);
  return Number(size.value);
}

async function windowOf(environment: Environment, image: Node, offset: number): Promise<Node> {
  if (offset >= image.size) throw fail(`Offset (${offset}) has to be smaller than or equal to the image size (${image.size})`);
  const node = await runAsync(openNode(environment, { driver: "raw", options: { file: image, offset }, flags: image.flags }));
  await runAsync(image.unref());
  return node;
}

/** Writes go to a file that is gone when this process is. */
async function overlay(environment: Environment, image: Node): Promise<Node> {
  const dir = mkdtempSync(join(tmpdir(), "vl."));
  try {
    const file = await runAsync(environment.drivers.get("file")!.createFile!(environment, join(dir, "overlay.qcow2")));
    return await runAsync(temporaryOverlay(environment, image, file));
  } catch (error) {
    throw prefixError("Failed to make a temporary snapshot: ", error);
  } finally {
    // An open file lives on without a name; where it cannot (Windows), it stays until the system clears its temporary files.
    rmSync(dir, { recursive: true, force: true, maxRetries: 1 });
  }
}

async function bitmapsOf(image: Node, names: readonly string[]): Promise<Map<string, DirtyBitmap>> {
  const chosen = new Map<string, DirtyBitmap>();
  for (const name of names) {
    let layer: Node | null = image;
    let found = image.bitmaps.find((bitmap) => bitmap.name === name);
    while (found === undefined && layer !== null) {
      layer = layer.backing;
      found = layer?.bitmaps.find((bitmap) => bitmap.name === name);
    }
    if (found === undefined) throw new BlockError("ERR_NOT_FOUND", `Bitmap '${name}' is not found`);
    chosen.set(name, await runAsync(found.load()));
  }
  return chosen;
}
