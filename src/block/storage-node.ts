/** A node over a storage the caller already has (memory, Blob, OPFS handle, …). */
import type { Storage } from "../storage/storage.js";
import type { Environment, OpenFlags } from "./context.js";
import { Node } from "./node.js";
import { storageImpl, storageObjectDriver } from "./protocol.js";
import { READ_ONLY } from "./flags.js";
import type { Op } from "./op.js";

export function* storageNode(environment: Environment, storage: Storage, flags: Partial<OpenFlags> = {}): Op<Node> {
  const node = new Node(
    environment,
    storageObjectDriver,
    { driver: "file", filename: storage.name },
    { ...READ_ONLY, write: !storage.readOnly, unmap: !storage.readOnly, ...flags },
  );
  node.givenName = storage.name;
  node.impl = yield* storageImpl(storage);
  return node;
}
