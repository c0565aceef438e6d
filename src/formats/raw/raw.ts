/** The raw format: the guest's bytes as they are, or a window of the file (`offset`, `size`). */
import { BlockError, errnoError } from "../../base/error.js";
import { alignUp } from "../../base/int.js";
import type { CreateContext, OpenContext } from "../../block/context.js";
import { debugEvent } from "../../block/debug.js";
import type {
  BlockDriverInfo,
  Driver,
  InterceptImpl,
  MeasureContext,
  Measure,
  TruncateOptions,
  WriteFlags,
} from "../../block/driver.js";
import { ExtentKind, type ExtentList } from "../../block/extent.js";
import { discard, flush, read, readPadded, truncate, write, writeZeroes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { bestDriver } from "../../block/open.js";
import type { Op } from "../../block/op.js";
import { Permission, type Permissions } from "../../block/permissions.js";
import { takeSize } from "../../block/take.js";
import type { Preallocation } from "../../storage/storage.js";

/** Bytes of a probed image that another format could be written into. */
const PROBED_HEAD = 512;

class Raw implements InterceptImpl {
  readonly shape = "intercept";
  readonly #node: Node;
  readonly #offset: number;
  readonly #hasSize: boolean;
  #size: number;

  constructor(node: Node, offset: number, size: number, hasSize: boolean) {
    this.#node = node;
    this.#offset = offset;
    this.#size = size;
    this.#hasSize = hasSize;
  }

  get #file(): Node {
    return this.#node.file;
  }

  get fixedSize(): boolean {
    return this.#hasSize;
  }
  /** The guest size; raw images on files that grow or shrink elsewhere follow the file only at open and truncate. */
  get size(): number {
    return this.#size;
  }

  read(into: Uint8Array, offset: number): Op<void> {
    const plain = readPadded(this.#file, into, this.#offset + offset);
    return this.#file.impl.debug === undefined ? plain : after(debugEvent(this.#file, "read_aio"), plain);
  }

  *write(from: Uint8Array, offset: number, flags: WriteFlags): Op<void> {
    if (this.#node.probed && offset < PROBED_HEAD) yield* this.#refuseForeignHeader(from, offset);
    yield* debugEvent(this.#file, "write_aio");
    yield* write(this.#file, from, this.#offset + offset, flags);
  }

  /** A guest that writes another format's header into an image that was only *guessed* to be raw could make the next probe open host files. */
  *#refuseForeignHeader(from: Uint8Array, offset: number): Op<void> {
    const head = new Uint8Array(Math.min(PROBED_HEAD, this.#size));
    yield* read(this.#file, head, this.#offset);
    head.set(from.subarray(0, head.length - offset), offset);
    if (bestDriver(this.#node.environment.drivers, head, "").name !== "raw") {
      throw errnoError("EPERM", undefined, { node: this.#node.nodeName, offset, operation: "write" });
    }
  }

  writeZeroes(offset: number, length: number, flags: WriteFlags): Op<void> {
    return writeZeroes(this.#file, this.#offset + offset, length, flags);
  }

  discard(offset: number, length: number): Op<void> {
    return discard(this.#file, this.#offset + offset, length);
  }

  flush(): Op<void> {
    return flush(this.#file);
  }

  *truncate(size: number, options: TruncateOptions): Op<void> {
    if (this.#hasSize) throw new BlockError("ERR_UNSUPPORTED", "Cannot resize fixed-size raw disks", { errno: "ENOTSUP" });
    yield* truncate(this.#file, this.#offset + size, options);
    this.#size = this.#file.size - this.#offset;
  }

  // eslint-disable-next-line require-yield
  *status(offset: number, length: number, out: ExtentList): Op<void> {
    out.push(offset, length, ExtentKind.data, this.#file, this.#offset + offset);
  }

  /** A window of a file is not to be moved below it. */
  childPermissions({ needed, shared }: Permissions): Permissions {
    return this.#offset > 0 || this.#hasSize ? { needed, shared: shared & ~Permission.resize } : { needed, shared };
  }

  blockInfo(): BlockDriverInfo {
    const { clusterSize, dirty } = this.#file.impl.blockInfo?.() ?? {};
    return { ...(clusterSize === undefined ? {} : { clusterSize }), ...(dirty === undefined ? {} : { dirty }) };
  }

  // eslint-disable-next-line require-yield
  *close(): Op<void> {}
}

function* after(first: Op<void>, then: Op<void>): Op<void> {
  yield* first;
  yield* then;
}

export const raw: Driver = {
  name: "raw",
  category: "format",
  mutableOptions: ["offset", "size"],
  runtimeOptions: ["offset", "size"],
  strongOptions: ["offset", "size"],
  /** The smallest score there is: raw is what nobody else claims. */
  probe: () => 1,
  createOptions: [
    { name: "size", type: "size", help: "Virtual disk size" },
    { name: "preallocation", type: "string", help: "Preallocation mode (allowed values: off, falloc, full)", default: "off" },
    { name: "nocow", type: "bool", help: "Turn off copy-on-write (valid only on btrfs)" },
    { name: "extent_size_hint", type: "size", help: "Extent size hint for the image file, 0 to disable" },
  ],

  *open(context: OpenContext): Op<InterceptImpl> {
    yield* context.openChild("file", "data");
    const offset = takeSize(context.options, "offset") ?? 0;
    const given = takeSize(context.options, "size");
    const whole = context.node.file.size;
    if (offset > whole) {
      throw new BlockError(
        "ERR_INVALID_ARGUMENT",
        `Offset (${offset}) cannot be greater than size of the containing file (${whole})`,
      );
    }
    if (given !== undefined && given > whole - offset) {
      throw new BlockError(
        "ERR_INVALID_ARGUMENT",
        `The sum of offset (${offset}) and size (${given}) has to be smaller or equal to the  actual size of the containing file (${whole})`,
      );
    }
    const node = context.node;
    return new Raw(node, offset, given ?? whole - offset, given !== undefined);
  },

  *create(context: CreateContext): Op<void> {
    const { size, file, options } = context;
    if (size < 0) throw new BlockError("ERR_INVALID_ARGUMENT", "Image creation needs a size parameter");
    const preallocation = (options["preallocation"] ?? "off") as Preallocation;
    if (!["off", "falloc", "full"].includes(preallocation)) {
      throw new BlockError(
        "ERR_INVALID_ARGUMENT",
        preallocation === "metadata" ? "Unsupported preallocation mode: metadata" : `invalid parameter value: ${preallocation}`,
      );
    }
    // Sectors are what a disk consists of.
    yield* truncate(file, alignUp(size, 512), { preallocation });
  },

  // eslint-disable-next-line require-yield
  *measure(context: MeasureContext): Op<Measure> {
    const bytes = alignUp(context.size, 512);
    return { required: bytes, fullyAllocated: bytes };
  },
};
