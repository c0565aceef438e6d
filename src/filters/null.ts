/** The `null-co` and `null-aio` protocols: a disk of any size that forgets what is written. Reads give zeros. */
import { BlockError } from "../base/error.js";
import { GiB } from "../base/int.js";
import type { OpenContext } from "../block/context.js";
import type { Driver, InterceptImpl } from "../block/driver.js";
import { ExtentKind, type ExtentList } from "../block/extent.js";
import { sleep, type Op } from "../block/op.js";
import { takeBool, takeSize } from "../block/take.js";

const DEFAULT_SIZE = 1 * GiB;

class Null implements InterceptImpl {
  readonly shape = "intercept";
  readonly size: number;
  readonly #latencyMs: number;
  readonly #readZeroes: boolean;
  readonly #self: OpenContext["node"];

  constructor(context: OpenContext) {
    const { options } = context;
    this.size = takeSize(options, "size") ?? DEFAULT_SIZE;
    this.#latencyMs = (takeSize(options, "latency-ns") ?? 0) / 1e6;
    // Zeros are what reads give in any case; this option only promises them to block status.
    this.#readZeroes = takeBool(options, "read-zeroes") ?? false;
    this.#self = context.node;
  }

  *#delay(): Op<void> {
    if (this.#latencyMs > 0) yield* sleep(this.#latencyMs);
  }
  *read(into: Uint8Array): Op<void> {
    yield* this.#delay();
    into.fill(0);
  }
  write(): Op<void> {
    return this.#delay();
  }
  writeZeroes(): Op<void> {
    return this.#delay();
  }
  discard(): Op<void> {
    return this.#delay();
  }
  flush(): Op<void> {
    return this.#delay();
  }
  // eslint-disable-next-line require-yield
  *status(offset: number, length: number, out: ExtentList): Op<void> {
    out.push(
      offset,
      length,
      this.#readZeroes ? ExtentKind.zero : ExtentKind.data,
      this.#readZeroes ? this.#self : null,
      this.#readZeroes ? offset : -1,
    );
  }
  // eslint-disable-next-line require-yield
  *close(): Op<void> {}
}

function nullDriver(name: "null-co" | "null-aio"): Driver {
  return {
    name,
    category: "protocol",
    schemes: [name],
    mutableOptions: [],
    runtimeOptions: ["size", "latency-ns", "read-zeroes"],
    parseFilename(filename) {
      if (filename !== `${name}://`)
        throw new BlockError("ERR_INVALID_ARGUMENT", `The only allowed filename for this driver is '${name}://'`);
      return {};
    },
    strongOptions: ["size", "read-zeroes"],
    exactFilename: (_node, options) =>
      Object.keys(options).every((key) => key === "driver" || key === "filename") ? `${name}://` : "",
    // eslint-disable-next-line require-yield
    *open(context) {
      return new Null(context);
    },
  };
}

export const nullDrivers: readonly Driver[] = [nullDriver("null-co"), nullDriver("null-aio")];
