/** The content ID of an open image: a new one is written into the descriptor before the first change of a session. */
import { BlockError } from "../../base/error.js";
import { flush, readBytes, truncate, writeGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { fitCid, newCid, NO_CID, withContentId, withParent, type Descriptor } from "./descriptor.js";

export class ContentId {
  readonly #file: Node;
  readonly #offset: number;
  /** Room of the descriptor inside the file; null: the file is the descriptor. */
  readonly #room: number | null;
  #cid: number;
  #parentCid: number;
  /** All it has had since the image was opened. */
  readonly #seen: Set<number>;
  #isNew = false;
  #dirty = false;

  constructor(descriptor: Descriptor, file: Node, offset: number, room: number | null) {
    this.#cid = descriptor.cid;
    this.#parentCid = descriptor.parentCid;
    this.#seen = new Set([descriptor.cid]);
    this.#file = file;
    this.#offset = offset;
    this.#room = room;
  }

  get cid(): number {
    return this.#cid;
  }
  get parentCid(): number {
    return this.#parentCid;
  }
  /** It was changed in this session. */
  get isNew(): boolean {
    return this.#isNew;
  }

  *renew(): Op<void> {
    this.#cid = yield* this.#put("CID", (digits) => fitCid(newCid(), digits));
    this.#seen.add(this.#cid);
    this.#isNew = true;
  }

  /** The image stays tied to its parent through a change that came from itself (commit). One that was tied to another content stays so. */
  *follow(parent: ContentId): Op<void> {
    if (parent.#cid === this.#parentCid || !parent.#seen.has(this.#parentCid)) return;
    this.#parentCid = yield* this.#put("parentCID", () => parent.#cid);
    yield* this.flush();
  }

  /** Names another parent, or none. Durable when it returns. */
  *setParent(parent: { cid: number; filename: string } | null): Op<void> {
    yield* this.#rewrite("parent", (bytes) => withParent(bytes, parent));
    this.#parentCid = parent?.cid ?? NO_CID;
    yield* this.flush();
  }

  *#put(key: "CID" | "parentCID", choose: (digits: number) => number): Op<number> {
    let cid = NO_CID;
    yield* this.#rewrite(key, (bytes) => {
      const changed = withContentId(bytes, key, choose);
      if (changed !== null) cid = changed.cid;
      return changed?.bytes ?? null;
    });
    return cid;
  }

  *#rewrite(what: string, change: (bytes: Uint8Array) => Uint8Array | null): Op<void> {
    const length = this.#room ?? this.#file.size - this.#offset;
    const text = change(yield* readBytes(this.#file, this.#offset, length));
    if (text === null || (this.#room !== null && text.length > this.#room)) {
      throw new BlockError("ERR_CORRUPT", `VMDK: the descriptor has no ${what} that could be changed`, { errno: "EINVAL" });
    }
    if (this.#room === null) {
      yield* writeGrow(this.#file, text, this.#offset);
      if (text.length < length) yield* truncate(this.#file, this.#offset + text.length, { preallocation: "off" });
    } else {
      const padded = new Uint8Array(this.#room);
      padded.set(text);
      yield* writeGrow(this.#file, padded, this.#offset);
    }
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
