/** Images as the copy engine reads them: one after the other, each rounded up to whole sectors. */
import { BlockError, strerror, toBlockError } from "../base/error.js";
import { readPadded } from "../block/io.js";
import type { Node } from "../block/node.js";
import { parallel, type Op } from "../block/op.js";
import { blockStatus, StatusCache } from "../block/status.js";
import type { CopySource, CopyStatus } from "../jobs/block-copy.js";
import { imageSize, SECTOR } from "./open.js";

export interface SourceOptions {
  /** The target has a backing file with what is below the top layer of the source: that is not copied. */
  overBacking: boolean;
  /** Bytes of the target's backing file; zeros behind them show anyway. Infinity: not known. */
  targetBackingSize: number;
  /** Unreadable sectors become zeros; each is reported here. */
  onBadSector: ((message: string) => void) | null;
}

export class ConcatenatedSource implements CopySource {
  readonly size: number;
  readonly #starts: number[] = [];
  readonly #nodes: readonly Node[];
  readonly #options: SourceOptions;
  readonly #cache = new StatusCache();

  constructor(nodes: readonly Node[], options: SourceOptions) {
    this.#nodes = nodes;
    this.#options = options;
    let at = 0;
    for (const node of nodes) {
      this.#starts.push(at);
      at += imageSize(node);
    }
    this.size = at;
  }

  #indexOf(offset: number): number {
    let index = this.#starts.length - 1;
    while (this.#starts[index]! > offset) index--;
    // Empty images cover nothing.
    while (index > 0 && imageSize(this.#nodes[index]!) === 0) index--;
    return index;
  }

  *status(offset: number, length: number): Op<CopyStatus> {
    const index = this.#indexOf(offset);
    const node = this.#nodes[index]!;
    const at = offset - this.#starts[index]!;
    const { overBacking, targetBackingSize, onBadSector } = this.#options;
    if (at >= node.size) return { length: Math.min(length, imageSize(node) - at), kind: "zero" };
    const base = overBacking ? node.backing : null;
    let found: { length: number; zero: boolean; data: boolean };
    for (let asked = Math.min(length, node.size - at); ; asked = Math.ceil(asked / SECTOR / 4) * SECTOR) {
      try {
        found = yield* blockStatus(node, at, asked, { base, cache: this.#cache });
        break;
      } catch (error) {
        // When salvaging, ask for less and less: what cannot be told about may lie behind this sector.
        if (onBadSector !== null && asked > SECTOR) continue;
        const failure = new BlockError(
          "ERR_IO",
          `error while reading block status at offset ${offset}: ${strerror(toBlockError(error).errno)}`,
          { cause: error },
        );
        if (onBadSector === null) throw failure;
        onBadSector(failure.message);
        return { length: Math.min(length, SECTOR), kind: "data" };
      }
    }
    if (found.zero) {
      if (!overBacking || offset < targetBackingSize) {
        const end = overBacking ? Math.min(found.length, targetBackingSize - offset) : found.length;
        return { length: end, kind: "zero" };
      }
      return { length: found.length, kind: "skip" };
    }
    return { length: found.length, kind: found.data ? "data" : overBacking ? "skip" : "data" };
  }

  *read(into: Uint8Array, offset: number): Op<void> {
    const parts: Op<void>[] = [];
    for (let done = 0; done < into.length;) {
      const index = this.#indexOf(offset + done);
      const node = this.#nodes[index]!;
      const at = offset + done - this.#starts[index]!;
      const length = Math.min(into.length - done, imageSize(node) - at);
      parts.push(this.#readOne(node, into.subarray(done, done + length), at, offset + done));
      done += length;
    }
    yield* parallel(parts);
  }

  *#readOne(node: Node, into: Uint8Array, at: number, offset: number): Op<void> {
    try {
      yield* readPadded(node, into, at);
    } catch (error) {
      const bad = this.#options.onBadSector;
      if (bad === null) throw readError(offset, error);
      for (let done = 0; done < into.length; done += SECTOR) {
        const sector = into.subarray(done, Math.min(done + SECTOR, into.length));
        try {
          yield* readPadded(node, sector, at + done);
        } catch (reason) {
          sector.fill(0);
          bad(`error while reading offset ${offset + done}: ${strerror(toBlockError(reason).errno)}`);
        }
      }
    }
  }
}

function readError(offset: number, error: unknown): BlockError {
  const inner = toBlockError(error);
  return new BlockError(inner.code, `error while reading at byte ${offset}: ${strerror(inner.errno)}`, {
    errno: inner.errno,
    offset,
    cause: error,
  });
}
