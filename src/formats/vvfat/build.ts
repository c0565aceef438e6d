/** The file system as it is when the disk is opened: clusters in the order QEMU hands them out, breadth first. */
import { BlockError } from "../../base/error.js";
import { viewOf } from "../../base/bytes.js";
import { divCeil } from "../../base/int.js";
import type { Op } from "../../block/op.js";
import type { DirectoryEntry } from "../../storage/directory.js";
import { mediaByte } from "./boot.js";
import { FatTable } from "./fat-table.js";
import type { HostDirectory } from "./host-directory.js";
import { HostNode, RunTable, type Run } from "./host-tree.js";
import { ENTRY, type Layout } from "./layout.js";
import { longNameEntries, NAME_LENGTH, shortChecksum, ShortNames } from "./names.js";

const MAX_FILE = 0x7fffffff;
const ATTRIBUTE = { directory: 0x10, file: 0x20, label: 0x28 } as const;

export interface Volume {
  readonly fat: FatTable;
  readonly root: HostNode;
  readonly runs: RunTable;
}

/**
 * Reads the whole tree (names and sizes; contents are read when the guest does).
 *
 * @throws BlockError ERR_TOO_LARGE when it does not fit
 */
export function* buildVolume(directory: HostDirectory, layout: Layout, label: Uint8Array): Op<Volume> {
  const builder = new Builder(directory, layout);
  return yield* builder.build(label);
}

/** What waits for its clusters, and where its entry tells the first of them. */
interface Waiting {
  readonly node: HostNode;
  readonly entry: { bytes: EntryBytes; at: number } | null;
}

/** Directory entries as they are made; the buffer doubles. */
class EntryBytes {
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(16 * ENTRY);
  #length = 0;

  get count(): number {
    return this.#length / ENTRY;
  }
  add(entries: Uint8Array): number {
    const at = this.#length;
    this.#length += entries.length;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes.set(entries, at);
    return at;
  }
  setCluster(at: number, cluster: number): void {
    const view = viewOf(this.#bytes);
    view.setUint16(at + 20, cluster >>> 16, true);
    view.setUint16(at + 26, cluster & 0xffff, true);
  }
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }
}

class Builder {
  readonly #directory: HostDirectory;
  readonly #layout: Layout;
  readonly #fat: FatTable;
  readonly #runs: Run[] = [];
  readonly #pages = new Map<HostNode, EntryBytes>();
  /** Of directories, where they are known. */
  readonly #times = new Map<HostNode, DirectoryEntry>();

  constructor(directory: HostDirectory, layout: Layout) {
    this.#directory = directory;
    this.#layout = layout;
    this.#fat = new FatTable(layout);
  }

  *build(label: Uint8Array): Op<Volume> {
    const layout = this.#layout;
    const root = new HostNode("", null, true);
    root.firstCluster = layout.rootCluster;
    const waiting: Waiting[] = [{ node: root, entry: null }];
    let next = layout.rootCluster;
    // Grows as directories are read.
    for (let i = 0; i < waiting.length; i++) {
      const { node, entry } = waiting[i]!;
      if (node !== root) node.firstCluster = next;
      const clusters = node.directory
        ? yield* this.#readDirectory(node, node === root ? label : null, waiting)
        : divCeil(node.size, layout.clusterSize);
      const end = next + clusters;
      if (end > layout.clusterCount) {
        const capacity = (layout.volumeSectors / 2000).toFixed(2);
        throw new BlockError("ERR_TOO_LARGE", `Directory does not fit in FAT${layout.fatType} (capacity ${capacity} MB)`, {
          errno: "EIO",
        });
      }
      this.#runs.push({ begin: next, end, node, offset: 0 });
      if (next > 0) this.#fat.chain(next, end, layout.endOfChain);
      if (entry !== null) entry.bytes.setCluster(entry.at, node.firstCluster);
      next = end;
    }
    this.#fat.set(0, layout.endOfChain);
    this.#fat.set(1, layout.endOfChain);
    this.#fat.bytes[0] = mediaByte(layout);
    for (const [node, page] of this.#pages) node.entries = page.finish();
    return { fat: this.#fat, root, runs: new RunTable(this.#runs) };
  }

  /** Clusters the directory takes. */
  *#readDirectory(node: HostNode, label: Uint8Array | null, waiting: Waiting[]): Op<number> {
    const layout = this.#layout;
    const path = node.path;
    const found = yield* this.#directory.list(path);
    const self = found.find((item) => item.name === ".");
    if (self !== undefined) this.#times.set(node, self);
    const page = new EntryBytes();
    this.#pages.set(node, page);
    const taken = new ShortNames();
    if (label !== null) {
      page.add(plainEntry(label, ATTRIBUTE.label));
      taken.add(label);
    } else this.#addDots(node, page, taken);
    for (const item of found) {
      if (item.name === ".") continue;
      if (label !== null && layout.rootEntries > 0 && page.count >= layout.rootEntries - 1) {
        throw this.#unreadable(path, "Too many entries in root directory");
      }
      if (item.size > MAX_FILE) throw this.#unreadable(path, `File ${[...path, item.name].join("/")} is larger than 2GB`);
      const at = addItem(page, item, taken);
      if (at < 0) continue;
      const child = new HostNode(item.name, node, item.directory);
      child.size = item.size;
      child.readOnly = item.readOnly;
      if (item.directory || item.size > 0) waiting.push({ node: child, entry: { bytes: page, at } });
    }
    if (layout.rootEntries > 0 && label !== null) {
      if (page.count > layout.rootEntries) throw this.#unreadable(path, "Too many entries in root directory");
      return 2;
    }
    return divCeil(page.count * ENTRY, layout.clusterSize);
  }

  #addDots(node: HostNode, page: EntryBytes, taken: ShortNames): void {
    const parent = node.parent!;
    const above = parent.parent === null ? 0 : parent.firstCluster;
    for (const [name, cluster] of [
      [".", node.firstCluster],
      ["..", above],
    ] as const) {
      const short = new Uint8Array(NAME_LENGTH).fill(0x20);
      for (let i = 0; i < name.length; i++) short[i] = 0x2e;
      taken.add(short);
      const entry = plainEntry(short, ATTRIBUTE.directory);
      setTimes(entry, this.#times.get(name === "." ? node : parent));
      page.setCluster(page.add(entry), cluster);
    }
  }

  #unreadable(path: readonly string[], why: string): BlockError {
    const name = [this.#directory.name, ...path].join("/");
    return new BlockError("ERR_TOO_LARGE", `Could not read directory ${name}: ${why}`, { errno: "EIO" });
  }
}

function plainEntry(short: Uint8Array, attributes: number): Uint8Array {
  const entry = new Uint8Array(ENTRY);
  entry.set(short);
  entry[11] = attributes;
  return entry;
}

/** Adds the entries of one file or directory; where its short one is, or -1 when no name could be found for it. */
function addItem(page: EntryBytes, item: DirectoryEntry, taken: ShortNames): number {
  const short = taken.make(item.name);
  if (short === null) return -1;
  page.add(longNameEntries(item.name, shortChecksum(short)));
  const entry = plainEntry(short, item.directory ? ATTRIBUTE.directory : ATTRIBUTE.file);
  setTimes(entry, item);
  viewOf(entry).setUint32(28, item.size, true);
  return page.add(entry);
}

function setTimes(entry: Uint8Array, item: DirectoryEntry | undefined): void {
  if (item === undefined) return;
  const view = viewOf(entry);
  view.setUint16(14, fatTime(item.changed), true);
  view.setUint16(16, fatDate(item.changed), true);
  view.setUint16(18, fatDate(item.accessed), true);
  view.setUint16(22, fatTime(item.modified), true);
  view.setUint16(24, fatDate(item.modified), true);
}

/** Local time, as on every FAT volume. */
function fatTime(milliseconds: number): number {
  if (milliseconds === 0) return 0;
  const time = new Date(milliseconds);
  return (time.getSeconds() >> 1) | (time.getMinutes() << 5) | (time.getHours() << 11);
}
function fatDate(milliseconds: number): number {
  if (milliseconds === 0) return 0;
  const time = new Date(milliseconds);
  return (time.getDate() | ((time.getMonth() + 1) << 5) | ((time.getFullYear() - 1980) << 9)) & 0xffff;
}
