/**
 * `blkverify`: does everything to two images and compares what is read. `raw` has the content that is believed, `test` is under test;
 * a difference fails the request and says where it is. Discards are not passed on: what they leave is each image's own business.
 */
import { BlockError, toBlockError } from "../base/error.js";
import type { Environment } from "../block/context.js";
import type { Driver, InterceptImpl, TruncateOptions, WriteFlags } from "../block/driver.js";
import { flush, read, truncate, writeZeroes } from "../block/io.js";
import type { Child, Node } from "../block/node.js";
import { exactFilename } from "../block/node-filename.js";
import { addFilename } from "../block/open.js";
import { parallel, type Op } from "../block/op.js";
import { takeString } from "../block/take.js";
import { writeBelow } from "../block/pass-through.js";

type Result = { ok: true } | { ok: false; error: BlockError };

function* attempt(op: Op<void>): Op<Result> {
  try {
    yield* op;
    return { ok: true };
  } catch (error) {
    return { ok: false, error: toBlockError(error) };
  }
}

class Blkverify implements InterceptImpl {
  readonly shape = "intercept";
  readonly grows = true;
  readonly #raw: Child;
  readonly #test: Child;
  readonly #environment: Environment;

  constructor(raw: Child, test: Child, environment: Environment) {
    this.#raw = raw;
    this.#test = test;
    this.#environment = environment;
  }
  get size(): number {
    return this.#test.node.size;
  }

  /** Runs a request on both; both must come to the same end. */
  *#both(what: string, offset: number, length: number, request: (node: Node) => Op<void>): Op<void> {
    const [raw, test] = yield* parallel([attempt(request(this.#raw.node)), attempt(request(this.#test.node))]);
    if (raw!.ok !== test!.ok || (!raw!.ok && !test!.ok && raw!.error.errno !== test!.error.errno)) {
      const end = (result: Result): string => (result.ok ? "success" : result.error.errno);
      throw this.#differs(what, offset, length, `return value mismatch ${end(raw!)} != ${end(test!)}`, offset);
    }
    if (!test!.ok) throw test!.error;
  }

  *read(into: Uint8Array, offset: number): Op<void> {
    const other = new Uint8Array(into.length);
    yield* this.#both("read", offset, into.length, (node) => read(node, node === this.#test.node ? into : other, offset));
    for (let at = 0; at < into.length; at++) {
      if (into[at] !== other[at])
        throw this.#differs("read", offset, into.length, `contents mismatch at offset ${offset + at}`, offset + at);
    }
  }
  write(from: Uint8Array, offset: number, flags: WriteFlags): Op<void> {
    return this.#both("write", offset, from.length, (node) => writeBelow(node, from, offset, { ...flags, compressed: false }));
  }
  writeZeroes(offset: number, length: number, flags: WriteFlags): Op<void> {
    return this.#both("write", offset, length, (node) => writeZeroes(node, offset, length, { ...flags, noFallback: false }));
  }
  *truncate(size: number, options: TruncateOptions): Op<void> {
    yield* this.#both("truncate", size, 0, (node) => truncate(node, size, options));
  }
  /** Only the image under test must be durable. */
  flush(): Op<void> {
    return flush(this.#test.node);
  }
  // eslint-disable-next-line require-yield
  *close(): Op<void> {}

  #differs(what: string, offset: number, length: number, how: string, where: number): BlockError {
    const message = `blkverify: ${what} offset=${offset} bytes=${length} ${how}`;
    this.#environment.imagesDiffer?.(message);
    return new BlockError("ERR_IO", message, { offset: where, operation: what });
  }
}

export const blkverify: Driver = {
  name: "blkverify",
  category: "filter",
  schemes: ["blkverify"],
  runtimeOptions: ["raw", "test"],
  directoryless: "blkverify",
  exactFilename(node) {
    const [raw, test] = [node.child("raw")!, node.child("test")!].map(exactFilename);
    return raw === "" || test === "" ? "" : `blkverify:${raw}:${test}`;
  },
  parseFilename(filename) {
    const rest = filename.startsWith("blkverify:") ? filename.slice("blkverify:".length) : null;
    if (rest === null) return { "x-image": filename };
    const colon = rest.indexOf(":");
    if (colon < 0) throw new BlockError("ERR_INVALID_ARGUMENT", "blkverify requires raw copy and original image path");
    return { "x-raw": rest.slice(0, colon), "x-image": rest.slice(colon + 1) };
  },
  *open(context) {
    const { options, environment } = context;
    const raw = takeString(options, "x-raw");
    const image = takeString(options, "x-image");
    if (raw !== undefined) options["raw"] = addFilename(environment, options["raw"], raw);
    // The image under test is probed, as it would be without us.
    if (image !== undefined)
      options["test"] = options["test"] === undefined ? { filename: image } : addFilename(environment, options["test"], image);
    const first = yield* context.openChild("raw", "filtered", { format: false });
    const second = yield* context.openChild("test", "data", { format: true });
    return new Blkverify(first, second, environment);
  },
};
