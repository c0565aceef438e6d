/**
 * A cache of fixed-size blocks over a slow, read-only, random-access source (HTTP, Blob, object store).
 *
 * Small reads go through the cache: blocks missing at the same moment, of all readers, are merged into few requests;
 * sequential access reads ahead with a window that doubles. Large reads use what is cached and fetch the rest straight
 * into the caller's buffer, so that streaming a whole image neither copies twice nor empties the cache.
 */
import { alignUp } from "../../base/int.js";

export interface BlockCacheOptions {
  /** Bytes; fixed from now on. */
  size: number;
  blockSize: number;
  /** Most bytes of cached blocks. */
  budget: number;
  /** Most bytes of one request. */
  maxRequest: number;
  /** Most requests under way. */
  parallel: number;
  /** Largest read-ahead window in bytes; 0: none. */
  readAhead: number;
  /** Fills the parts, in order, from the contiguous bytes at `offset`; the parts' total never passes the end. */
  fetch(parts: readonly Uint8Array[], offset: number): Promise<void>;
}

export interface BlockCacheStatistics {
  /** Blocks found cached or already on their way. */
  hits: number;
  misses: number;
  /** Blocks fetched before anybody asked. */
  readAhead: number;
}

interface Block {
  bytes: Uint8Array;
  /** null once the bytes are there. */
  arriving: Promise<void> | null;
}

interface Run {
  parts: Uint8Array[];
  offset: number;
  settle(error?: unknown): void;
}

export class BlockCache {
  readonly statistics: BlockCacheStatistics = { hits: 0, misses: 0, readAhead: 0 };
  /** In the order of use, least recent first. */
  private readonly blocks = new Map<number, Block>();
  private cachedBytes = 0;
  /** Missing blocks of the present turn of the event loop, to be merged. */
  private wanted = new Map<number, { bytes: Uint8Array; settle: (error?: unknown) => void }>();
  private readonly queue: Run[] = [];
  private running = 0;
  private expected = -1;
  private window = 0;
  private aheadTo = 0;

  constructor(private readonly options: BlockCacheOptions) {}

  /** Reads up to the end of the source; the caller has checked the offset. */
  async read(into: Uint8Array, offset: number): Promise<number> {
    const { size, blockSize, budget } = this.options;
    const count = Math.max(0, Math.min(into.length, size - offset));
    if (count === 0) return 0;
    const target = into.subarray(0, count);
    if (count >= Math.max(4 * blockSize, Math.min(1 << 20, budget / 4))) await this.readLarge(target, offset);
    else await this.readSmall(target, offset);
    return count;
  }

  /** Puts bytes that are known already (of a first request) into the cache. Whole blocks only. */
  preload(bytes: Uint8Array, offset: number): void {
    const { blockSize, size } = this.options;
    for (let at = alignUp(offset, blockSize); at < offset + bytes.length; at += blockSize) {
      const length = Math.min(blockSize, size - at);
      if (length <= 0 || at + length > offset + bytes.length) break;
      if (!this.blocks.has(at / blockSize))
        this.keep(at / blockSize, { bytes: bytes.slice(at - offset, at - offset + length), arriving: null });
    }
    this.evict();
  }

  clear(): void {
    this.blocks.clear();
    this.cachedBytes = 0;
  }

  private async readSmall(target: Uint8Array, offset: number): Promise<void> {
    const { blockSize } = this.options;
    const end = offset + target.length;
    const first = Math.floor(offset / blockSize);
    const last = Math.floor((end - 1) / blockSize);
    const used: Block[] = [];
    const waits: Promise<void>[] = [];
    for (let index = first; index <= last; index++) {
      const found = this.touch(index);
      if (found === undefined) this.statistics.misses++;
      else this.statistics.hits++;
      const block = found ?? this.want(index);
      used.push(block);
      if (block.arriving !== null) waits.push(block.arriving);
    }
    this.ahead(offset, end, last);
    if (waits.length > 0) await Promise.all(waits);
    for (let index = first; index <= last; index++) {
      const block = used[index - first]!;
      const start = index * blockSize;
      const from = Math.max(0, offset - start);
      const to = Math.min(block.bytes.length, end - start);
      target.set(block.bytes.subarray(from, to), start + from - offset);
    }
  }

  private async readLarge(target: Uint8Array, offset: number): Promise<void> {
    const { blockSize, maxRequest } = this.options;
    const end = offset + target.length;
    const waits: Promise<void>[] = [];
    let gap = offset;
    const fetchGap = (to: number): void => {
      for (let at = gap; at < to; at += maxRequest) {
        const part = target.subarray(at - offset, Math.min(to, at + maxRequest) - offset);
        waits.push(this.enqueue([part], at));
      }
    };
    for (let index = Math.floor(offset / blockSize); index * blockSize < end; index++) {
      const block = this.blocks.get(index);
      if (block === undefined) continue;
      this.statistics.hits++;
      const start = index * blockSize;
      const from = Math.max(offset, start);
      const to = Math.min(end, start + block.bytes.length);
      fetchGap(from);
      gap = to;
      const copy = (): void => target.set(block.bytes.subarray(from - start, to - start), from - offset);
      if (block.arriving === null) copy();
      else waits.push(block.arriving.then(copy));
    }
    fetchGap(end);
    this.expected = end;
    // All of them, even after a failure: nothing may write into the caller's buffer after this returns.
    for (const result of await Promise.allSettled(waits)) if (result.status === "rejected") throw result.reason;
  }

  /** Keeps a window of blocks coming in front of a sequential reader. */
  private ahead(offset: number, end: number, lastBlock: number): void {
    const { blockSize, readAhead, size } = this.options;
    const sequential =
      offset === this.expected || (this.expected >= 0 && offset > this.expected && offset - this.expected < blockSize);
    this.expected = end;
    if (readAhead < blockSize) return;
    if (!sequential) {
      // Rereading within the same block is neither sequential nor a jump.
      if (Math.floor(offset / blockSize) !== lastBlock || end < this.aheadTo - readAhead || end > this.aheadTo) this.window = 0;
      return;
    }
    const front = (lastBlock + 1) * blockSize;
    if (this.window > 0 && this.aheadTo - front >= this.window / 2 && this.aheadTo >= front) return;
    this.window = Math.min(readAhead, this.options.budget / 4, Math.max(blockSize, this.window * 2));
    const to = Math.min(size, front + this.window);
    for (let at = front; at < to; at += blockSize) {
      const index = at / blockSize;
      if (this.blocks.has(index)) continue;
      this.statistics.readAhead++;
      // Nobody waits for it: a failure shows when somebody asks for the block again.
      this.want(index).arriving?.catch(() => {});
    }
    this.aheadTo = to;
  }

  private touch(index: number): Block | undefined {
    const block = this.blocks.get(index);
    if (block !== undefined) {
      this.blocks.delete(index);
      this.blocks.set(index, block);
    }
    return block;
  }

  private keep(index: number, block: Block): void {
    this.blocks.set(index, block);
    this.cachedBytes += block.bytes.length;
  }

  private want(index: number): Block {
    const { blockSize, size } = this.options;
    const bytes = new Uint8Array(Math.min(blockSize, size - index * blockSize));
    const block: Block = { bytes, arriving: null };
    block.arriving = new Promise<void>((resolve, reject) => {
      const settle = (error?: unknown): void => {
        if (error === undefined) {
          block.arriving = null;
          resolve();
        } else {
          if (this.blocks.get(index) === block) {
            this.blocks.delete(index);
            this.cachedBytes -= bytes.length;
          }
          reject(error);
        }
      };
      if (this.wanted.size === 0) queueMicrotask(() => this.dispatch());
      this.wanted.set(index, { bytes, settle });
    });
    this.keep(index, block);
    return block;
  }

  /** Merges what this turn of the event loop missed into runs of neighbours, one request each. */
  private dispatch(): void {
    const { blockSize, maxRequest } = this.options;
    const wanted = this.wanted;
    this.wanted = new Map();
    const indexes = [...wanted.keys()].sort((a, b) => a - b);
    for (let i = 0; i < indexes.length;) {
      const first = indexes[i]!;
      const run = [wanted.get(first)!];
      while (++i < indexes.length && indexes[i] === first + run.length && (run.length + 1) * blockSize <= maxRequest)
        run.push(wanted.get(indexes[i]!)!);
      const settle = (error?: unknown): void => {
        for (const block of run) block.settle(error);
        this.evict();
      };
      this.enqueue(
        run.map((block) => block.bytes),
        first * blockSize,
      ).then(() => settle(), settle);
    }
  }

  private enqueue(parts: Uint8Array[], offset: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.queue.push({ parts, offset, settle: (error) => (error === undefined ? resolve() : reject(error)) });
      this.pump();
    });
  }

  private pump(): void {
    while (this.running < this.options.parallel) {
      const run = this.queue.shift();
      if (run === undefined) return;
      this.running++;
      const finish = (error?: unknown): void => {
        this.running--;
        run.settle(error);
        this.pump();
      };
      this.options.fetch(run.parts, run.offset).then(
        () => finish(),
        (error: unknown) => finish(error ?? new Error("failed")),
      );
    }
  }

  private evict(): void {
    for (const [index, block] of this.blocks) {
      if (this.cachedBytes <= this.options.budget) return;
      if (block.arriving !== null) continue;
      this.blocks.delete(index);
      this.cachedBytes -= block.bytes.length;
    }
  }
}
