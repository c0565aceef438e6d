/** The content ID of an open image: a new one is written into the descriptor before the first change of a session. */
import { BlockError } from "../../base/error.js";
import { flush, readBytes, truncate, writeGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { newCid, withCid, type Descriptor } from "./descriptor.js";

export class ContentId {
  readonly parentCid: number;
  readonly #file: Node;
  readonly #offset: number;
  /** Room of the descriptor inside the file; null: the file is the descriptor. */
  readonly #room: number | null;
  #cid: number;
  #isNew = false;
  #dirty = false;

  constructor(descriptor: Descriptor, file: Node, offset: number, room: number | null) {
    this.#cid = descriptor.cid;
    this.parentCid = descriptor.parentCid;
    this.#file = file;
    this.#offset = offset;
    this.#room = room;
  }

  get cid(): number {
    return this.#cid;
  }
  /** It was changed in this session. */
  get isNew(): boolean {
    return this.#isNew;
  }

  *renew(): Op<void> {
    const length = this.#room ?? this.#file.size - this.#offset;
    const bytes = yield* readBytes(this.#file, this.#offset, length);
    const changed = withCid(bytes, newCid());
    if (changed === null || (this.#room !== null && changed.bytes.length > this.#room)) {
      throw new BlockError("ERR_CORRUPT", "VMDK: the descriptor has no CID that could be changed", { errno: "EINVAL" });
    }
    const { bytes: text, cid } = changed;
    if (this.#room === null) {
      yield* writeGrow(this.#file, text, this.#offset);
      if (text.length < length) yield* truncate(this.#file, this.#offset + text.length, { preallocation: "off" });
    } else {
      const padded = new Uint8Array(this.#room);
      padded.set(text);
      yield* writeGrow(this.#file, padded, this.#offset);
    }
    this.#cid = cid;
    this.#isNew = true;
    this.#dirty = true;
  }

  /** The next writer begins another session. */
  endSession(): void {
    this.#isNew = false;
  }

  *flush(): Op<void> {
    if (!this.#dirty) return;
    this.#dirty = false;
    yield* flush(this.#file);
  }
}
