/// <reference lib="esnext.disposable" preserve="true" />
/** An open image for reading: what `openReader` returns, and the half of `Image` that changes nothing. */
import { read } from "../block/io.js";
import type { Node } from "../block/node.js";
import { runAsync } from "../block/op.js";
import type { ImageInfo, MapEntry } from "../block/types.js";
import { checkBytes, checkLength, checkOptions, EXTENTS, spanOf } from "./arguments.js";
import { camelize, type Camelized } from "./camel.js";
import { imageInfo } from "./info.js";
import { mapImage } from "./map.js";
import { throwIfAborted, type AbortLike } from "./signal.js";

const STREAM_CHUNK = 1024 * 1024;
/** Entries of one batch of `extents`. */
const EXTENT_WINDOW = 1024 * 1024 * 1024;

/** Offsets and lengths are bytes; everything throws `BlockError`. */
export class ImageReader {
  /** The node behind it, for what this class has no method for. */
  readonly node: Node;
  #closing: Promise<void> | null = null;

  constructor(node: Node) {
    this.node = node;
  }

  /** "qcow2", "raw", … */
  get format(): string {
    return this.node.driver.name;
  }
  /** Virtual size in bytes. */
  get size(): number {
    return this.node.size;
  }
  get name(): string {
    return this.node.filename;
  }
  get readOnly(): boolean {
    return this.node.readOnly;
  }

  /** `length` bytes from `offset`; the range must lie inside the image. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    checkLength(this.node, offset, length);
    const bytes = new Uint8Array(length);
    await runAsync(read(this.node, bytes, offset));
    return bytes;
  }

  /** Fills `into` from `offset`. */
  async readInto(into: Uint8Array, offset: number): Promise<void> {
    checkBytes(into);
    await runAsync(read(this.node, into, offset));
  }

  /** What the image is; the members of QAPI's ImageInfo in camelCase. */
  async info(): Promise<Camelized<ImageInfo>> {
    return camelize(await this.imageInfo());
  }

  /** The same in QAPI's spelling, as `qemu-img info --output=json` prints it. */
  imageInfo(): Promise<ImageInfo> {
    return runAsync(imageInfo(this.node));
  }

  /** Where the data is, in order; adjacent runs of one kind come as one. */
  async *extents(options: { from?: number; to?: number; signal?: AbortLike } = {}): AsyncGenerator<MapEntry, void, undefined> {
    checkOptions("extents", options, EXTENTS);
    const { start, end } = spanOf(this.node, options.from, options.to);
    let held: MapEntry | null = null;
    for (let at = start; at < end; at += EXTENT_WINDOW) {
      const batch: MapEntry[] = [];
      await runAsync(
        mapImage(this.node, (entry) => batch.push(entry), {
          start: at,
          length: Math.min(EXTENT_WINDOW, end - at),
          signal: options.signal,
        }),
      );
      for (const entry of batch) {
        if (held !== null && continues(held, entry)) {
          held.length += entry.length;
        } else {
          if (held !== null) yield held;
          held = entry;
        }
      }
    }
    if (held !== null) yield held;
  }

  /** The guest's bytes [start, end) as a stream, read as it is consumed. @throws BlockError ERR_OUT_OF_RANGE */
  stream(options: { start?: number; end?: number; signal?: AbortLike } = {}): ReadableStream<Uint8Array> {
    checkOptions("stream", options, ["start", "end", "signal"]);
    const { start, end } = spanOf(this.node, options.start, options.end);
    let at = start;
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          throwIfAborted(options.signal);
          if (at >= end) {
            controller.close();
            return;
          }
          const bytes = await this.read(at, Math.min(STREAM_CHUNK, end - at));
          at += bytes.length;
          controller.enqueue(bytes);
        },
      },
      { highWaterMark: 1 },
    );
  }

  /** Writes everything out and lets go of the files. Closing twice is fine. */
  close(): Promise<void> {
    this.#closing ??= runAsync(this.node.unref());
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function continues(a: MapEntry, b: MapEntry): boolean {
  if (a.zero !== b.zero || a.data !== b.data || a.present !== b.present || a.depth !== b.depth || a.filename !== b.filename)
    return false;
  return a.offset === undefined ? b.offset === undefined : b.offset === a.offset + a.length;
}
