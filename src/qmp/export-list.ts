/** Exports: nodes offered to clients of the NBD server. */
import { BlockError } from "../base/error.js";
import { activate } from "../block/activation.js";
import { Backend } from "../block/backend.js";
import type { DirtyBitmap } from "../block/dirty-bitmap.js";
import { checkBitmap, getBitmap, type NamedBitmap } from "../block/named-bitmap.js";
import type { Node } from "../block/node.js";
import { foreign, runAsync, type Op } from "../block/op.js";
import { ALL_PERMISSIONS, checkPermissions, Permission } from "../block/permissions.js";
import { setWritable } from "../block/reopen.js";
import type { Duplex } from "../nbd/duplex.js";
import { NbdServer } from "../nbd/server.js";
import type { StartTls } from "../nbd/tls.js";
import type { BlockCore } from "./block-core.js";

export type SocketAddress =
  | { type: "inet"; host: string; port: string; [more: string]: unknown }
  | { type: "unix"; path: string; [more: string]: unknown };

/** Ends listening; `leaveSocket`: the file of a Unix socket stays. */
export type StopListening = (leaveSocket: boolean) => Promise<void>;
/** Listens; resolves when clients can connect. */
export type Listen = (address: SocketAddress, accept: (duplex: Duplex) => void) => Promise<StopListening>;

export interface ExportRequest {
  id: string;
  nodeName: string;
  name: string;
  description: string;
  writable: boolean;
  /** By name in the node, or from another node. */
  bitmaps: readonly (string | NamedBitmap)[];
  allocationDepth: boolean;
  /** The drive by whose name it was asked for: the export goes when its medium does. */
  drive?: Backend;
}

export interface Export {
  readonly id: string;
  readonly name: string;
  readonly node: () => Node;
  shuttingDown: boolean;
  readonly backend: Backend;
  readonly bitmaps: readonly NamedBitmap[];
  readonly drive: Backend | null;
}

export class ExportList {
  readonly #core: BlockCore;
  readonly #listen: Listen | null;
  readonly #exports = new Map<string, Export>();
  #server: { nbd: NbdServer; stop: StopListening } | null = null;

  /** The file of a Unix socket stays when the server ends: QEMU takes it away with `nbd-server-stop`, not with `quit`. */
  leaveSocket = false;

  constructor(core: BlockCore, listen: Listen | null) {
    this.#core = core;
    this.#listen = listen;
  }

  /** The newest first. */
  all(): Export[] {
    return [...this.#exports.values()].reverse();
  }
  *nodes(): Iterable<Node> {
    for (const { backend } of this.#exports.values()) if (backend.root !== null) yield backend.root;
  }
  get isListening(): boolean {
    return this.#server !== null;
  }
  /** Hands a connection to the NBD server: for transports other than listening sockets. */
  accept(duplex: Duplex): Promise<void> {
    if (this.#server === null) throw new BlockError("ERR_CLOSED", "NBD server not running");
    return this.#server.nbd.accept(duplex);
  }

  /** @param startTls TLS that all clients must use */
  *start(address: SocketAddress | null, maxConnections: number, startTls?: StartTls): Op<void> {
    if (this.#server !== null) throw new BlockError("ERR_EXISTS", "NBD server already running");
    const nbd = new NbdServer({ maxConnections, ...(startTls === undefined ? {} : { startTls }) });
    let stop: StopListening = () => Promise.resolve();
    if (address !== null) {
      const listen = this.#listen;
      if (listen === null)
        throw new BlockError("ERR_UNSUPPORTED", "There are no listening sockets here: hand connections to the server instead");
      stop = yield* foreign("Listening", null, () => listen(address, (duplex) => void nbd.accept(duplex)));
    }
    this.#server = { nbd, stop };
  }

  /** Ends the server and all its exports. */
  *stop(): Op<void> {
    const server = this.#server;
    if (server === null) throw new BlockError("ERR_CLOSED", "NBD server not running");
    this.#server = null;
    yield* foreign("Ending the NBD server", null, async () => {
      await server.stop(this.leaveSocket);
      await server.nbd.close();
    });
    for (const each of [...this.#exports.values()]) yield* this.#drop(each);
  }

  *add(request: ExportRequest): Op<void> {
    const core = this.#core;
    if (this.#exports.has(request.id)) throw new BlockError("ERR_EXISTS", `Block export id '${request.id}' is already in use`);
    const node = core.node(request.nodeName);
    const server = this.#server;
    if (server === null) throw new BlockError("ERR_CLOSED", "NBD server not running");
    if (request.name.length > 4096) throw new BlockError("ERR_INVALID_ARGUMENT", `export name '${request.name}' too long`);
    if (request.description.length > 4096)
      throw new BlockError("ERR_INVALID_ARGUMENT", `description '${request.description}' too long`);
    // An export can be needed before the machine is here: its image is for whoever mirrors to it.
    yield* activate([node]);
    if (request.writable && node.readOnly) {
      if (node.flags.autoReadOnly !== true && !node.resting)
        throw new BlockError("ERR_READ_ONLY", "Cannot export read-only node as writable");
      yield* setWritable(node, true);
    }
    const named = request.bitmaps.map((bitmap) => (typeof bitmap === "string" ? findInChain(node, bitmap) : bitmap));
    const bits = new Map<string, DirtyBitmap>();
    for (const bitmap of named) {
      checkBitmap(bitmap, { allowReadOnly: true });
      // Of a node that can be written it would go on changing; what another node's does is that node's affair.
      const isOwn = request.bitmaps.includes(bitmap.name);
      if (isOwn && !request.writable && !bitmap.node.readOnly && bitmap.enabled) {
        throw new BlockError("ERR_INVALID_ARGUMENT", `Enabled bitmap '${bitmap.name}' incompatible with readonly export`);
      }
      bits.set(bitmap.name, yield* bitmap.load());
    }
    const backend = new Backend("", node);
    // Clients are told a size once.
    const { consistentRead, write, resize } = Permission;
    backend.permissions = { needed: consistentRead | (request.writable ? write : 0), shared: ALL_PERMISSIONS & ~resize };
    const details = node.impl.blockInfo?.();
    try {
      checkPermissions(node);
      server.nbd.add({
        name: request.name,
        description: request.description,
        backend,
        writable: request.writable,
        bitmaps: bits,
        allocationDepth: request.allocationDepth,
        preferredBlock: Math.min(details?.clusterSize ?? 4096, 32 * 1024 * 1024),
      });
    } catch (error) {
      yield* backend.close();
      throw error;
    }
    for (const bitmap of named) bitmap.busy = "export";
    this.#exports.set(request.id, {
      id: request.id,
      name: request.name,
      node: () => backend.node,
      shuttingDown: false,
      backend,
      bitmaps: named,
      drive: request.drive ?? null,
    });
  }

  find(id: string): Export {
    const found = this.#exports.get(id);
    if (found === undefined) throw new BlockError("ERR_NOT_FOUND", `Export '${id}' is not found`);
    return found;
  }

  *remove(id: string, hard: boolean): Op<void> {
    const found = this.find(id);
    const server = this.#server;
    if (server !== null) yield* foreign("Ending an export", null, () => server.nbd.remove(found.name, hard));
    yield* this.#drop(found);
  }

  /** The medium of a drive is taken out. */
  *mediumGone(drive: Backend): Op<void> {
    for (const each of this.all()) if (each.drive === drive) yield* this.remove(each.id, true);
  }

  *#drop(each: Export): Op<void> {
    for (const bitmap of each.bitmaps) bitmap.busy = null;
    this.#exports.delete(each.id);
    yield* each.backend.close();
    this.#core.emit("BLOCK_EXPORT_DELETED", { id: each.id });
  }

  async stopAll(): Promise<void> {
    if (this.#server !== null) await runAsync(this.stop());
  }
}

/** Bitmaps of layers below a filter or overlay may be exported too. */
function findInChain(node: Node, name: string): NamedBitmap {
  for (let at: Node | null = node; at !== null; at = at.child("file") ?? null) {
    const found = at.bitmaps.find((bitmap) => bitmap.name === name);
    if (found !== undefined) return found;
    if (at.driver.category !== "filter") break;
  }
  try {
    return getBitmap(node, name);
  } catch {
    throw new BlockError("ERR_NOT_FOUND", `Bitmap '${name}' is not found`);
  }
}
