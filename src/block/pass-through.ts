/** A filter that passes every request on to the node below as it is: what filters and the nodes of jobs extend. */
import type { InterceptImpl, TruncateOptions, WriteFlags } from "./driver.js";
import { discard, flush, read, truncate, write, writeGrow, writeZeroes } from "./io.js";
import type { Child, Node } from "./node.js";
import type { Op } from "./op.js";

export class PassThrough implements InterceptImpl {
  readonly shape = "intercept";
  /** Writes behind the end grow the node below. */
  readonly grows = true;
  readonly node: Node;
  readonly #child: Child;

  /** @param child the edge to what is filtered; it may be pointed at another node later */
  constructor(child: Child) {
    this.node = child.parent;
    this.#child = child;
  }

  /** The node that is filtered. */
  get below(): Node {
    return this.#child.node;
  }
  get size(): number {
    return this.below.size;
  }

  read(into: Uint8Array, offset: number): Op<void> {
    return read(this.below, into, offset);
  }
  write(from: Uint8Array, offset: number, flags: WriteFlags): Op<void> {
    return writeBelow(this.below, from, offset, flags);
  }
  writeZeroes(offset: number, length: number, flags: WriteFlags): Op<void> {
    return writeZeroes(this.below, offset, length, flags);
  }
  discard(offset: number, length: number): Op<void> {
    return discard(this.below, offset, length);
  }
  flush(): Op<void> {
    return flush(this.below);
  }
  truncate(size: number, options: TruncateOptions): Op<void> {
    return truncate(this.below, size, options);
  }
  // eslint-disable-next-line require-yield
  *close(): Op<void> {}
}

/** A write passed on to the node below, also where it begins or ends behind that node's end. */
export function writeBelow(below: Node, from: Uint8Array, offset: number, flags: WriteFlags): Op<void> {
  return offset + from.length > below.size && !flags.compressed
    ? writeGrow(below, from, offset)
    : write(below, from, offset, flags);
}
