/** `snapshot-access`: shows the disk as it was when the copy-before-write filter below was put in. Read-only. */
import { BlockError } from "../base/error.js";
import type { Driver, InterceptImpl, SnapshotAccess } from "../block/driver.js";
import type { ExtentList } from "../block/extent.js";
import type { Op } from "../block/op.js";

class SnapshotReader implements InterceptImpl {
  readonly shape = "intercept";
  readonly #access: SnapshotAccess;
  constructor(access: SnapshotAccess) {
    this.#access = access;
  }
  get size(): number {
    return this.#access.snapshotSize;
  }
  read(into: Uint8Array, offset: number): Op<void> {
    return this.#access.readSnapshot(into, offset);
  }
  status(offset: number, length: number, out: ExtentList): Op<void> {
    return this.#access.snapshotStatus(offset, length, out);
  }
  discard(offset: number, length: number): Op<void> {
    return this.#access.discardSnapshot(offset, length);
  }
  // eslint-disable-next-line require-yield
  *flush(): Op<void> {}
  // eslint-disable-next-line require-yield
  *close(): Op<void> {}
}

export const snapshotAccess: Driver = {
  name: "snapshot-access",
  category: "filter",
  runtimeOptions: ["file"],
  *open(context) {
    const child = yield* context.openChild("file", "data", { format: true });
    const { impl, driver } = child.node;
    const access = impl.shape === "intercept" ? impl.snapshot : undefined;
    if (access === undefined) {
      throw new BlockError("ERR_UNSUPPORTED", `Driver '${driver.name}' has no snapshot to access`, {
        errno: "ENOTSUP",
        node: child.node.nodeName,
      });
    }
    return new SnapshotReader(access);
  },
};
