/** The pieces a VMDK is made of: each covers a range of the guest disk and says where its bytes are. */
import { BlockError } from "../../base/error.js";
import type { Miss, WriteFlags, WritePlan } from "../../block/driver.js";
import { ExtentKind, type ExtentList } from "../../block/extent.js";
import { discard, writeZeroes } from "../../block/io.js";
import type { Child, Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";

/** Members of QAPI's VmdkExtentInfo. */
export interface VmdkExtentInfo {
  compressed?: boolean;
  "virtual-size": number;
  filename: string;
  "cluster-size"?: number;
  format: string;
}

/** All offsets are guest offsets; ranges lie inside the extent. */
export interface VmdkExtent {
  readonly start: number;
  readonly end: number;
  /** null: it has no file (zeros). */
  readonly file: Node | null;
  /** As the descriptor names it; "" for the one extent of a monolithic image. */
  readonly type: string;
  /** Bytes of a grain; null for flat extents. */
  readonly grainSize: number | null;
  readonly compressed: boolean;
  /** What was found to be damaged until now although all of it can be read; null: nothing. */
  readonly damage?: string | null;
  map(offset: number, end: number, out: ExtentList): Miss | null;
  load?(miss: Miss): Op<void>;
  prepareWrite(offset: number, length: number): Op<WritePlan>;
  commitWrite?(plan: WritePlan): Op<void>;
  abortWrite?(plan: WritePlan): Op<void>;
  /** Throws ERR_UNSUPPORTED before anything is changed where zeros can only be written. `dryRun`: only look. */
  writeZeroes(offset: number, length: number, flags: WriteFlags, dryRun: boolean): Op<void>;
  discard(offset: number, length: number): Op<void>;
  flush(): Op<void>;
}

/** Bytes as they are, somewhere in a file. */
export class FlatExtent implements VmdkExtent {
  readonly grainSize = null;
  readonly compressed = false;
  readonly start: number;
  readonly end: number;
  readonly type: string;
  readonly #child: Child;
  readonly #host: number;

  /** @param host byte offset in the file; Infinity when the descriptor says one beyond 2^53 */
  constructor(start: number, length: number, child: Child, type: string, host: number) {
    this.start = start;
    this.end = start + length;
    this.#child = child;
    this.type = type;
    this.#host = host;
  }

  get file(): Node {
    return this.#child.node;
  }

  #hostOf(offset: number, end: number): number {
    const host = this.#host + (offset - this.start);
    if (Number.isSafeInteger(host + (end - offset))) return host;
    throw new BlockError("ERR_CORRUPT", `VMDK: the flat extent in '${this.file.filename}' begins beyond 2^53 bytes`, {
      errno: "EIO",
    });
  }

  map(offset: number, end: number, out: ExtentList): null {
    out.push(offset, end - offset, ExtentKind.data, this.file, this.#hostOf(offset, end));
    return null;
  }

  // eslint-disable-next-line require-yield
  *prepareWrite(offset: number, length: number): Op<WritePlan> {
    return {
      length,
      pieces: [{ start: offset, length, file: this.file, host: this.#hostOf(offset, offset + length), fresh: false }],
    };
  }

  *writeZeroes(offset: number, length: number, flags: WriteFlags, dryRun: boolean): Op<void> {
    if (dryRun) return;
    const inside = this.#inside(offset, length);
    if (inside > 0) yield* writeZeroes(this.file, this.#hostOf(offset, offset + length), inside, flags);
  }

  *discard(offset: number, length: number): Op<void> {
    const inside = this.#inside(offset, length);
    if (inside > 0) yield* discard(this.file, this.#hostOf(offset, offset + length), inside);
  }

  /** What lies behind the end of the file is zeros already. */
  #inside(offset: number, length: number): number {
    return Math.min(length, this.file.size - this.#hostOf(offset, offset + length));
  }

  // eslint-disable-next-line require-yield
  *flush(): Op<void> {}
}

/** Zeros that nothing stores ("ZERO"). */
export class ZeroExtent implements VmdkExtent {
  readonly grainSize = null;
  readonly compressed = false;
  readonly file = null;
  readonly type = "ZERO";
  readonly start: number;
  readonly end: number;

  constructor(start: number, length: number) {
    this.start = start;
    this.end = start + length;
  }

  map(offset: number, end: number, out: ExtentList): null {
    out.push(offset, end - offset, ExtentKind.zero);
    return null;
  }
  prepareWrite(offset: number): Op<WritePlan> {
    throw new BlockError("ERR_UNSUPPORTED", "VMDK: nothing can be written to an extent of zeros", { offset, errno: "EIO" });
  }
  // eslint-disable-next-line require-yield
  *writeZeroes(): Op<void> {}
  // eslint-disable-next-line require-yield
  *discard(): Op<void> {}
  // eslint-disable-next-line require-yield
  *flush(): Op<void> {}
}
