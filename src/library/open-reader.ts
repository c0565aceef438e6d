/**
 * `openReader`: opening images for reading with nothing in the bundle but what reading takes. The storage, the formats and the
 * codecs are the caller's choice; `open` of the same entry does more and weighs more.
 *
 * The kernel is one of its own, of two kilobytes: the functions that look up tables.
 */
import type { Environment, Gate, Reference } from "../block/context.js";
import type { Driver } from "../block/driver.js";
import { openNode } from "../block/open.js";
import { done, foreign, runAsync } from "../block/op.js";
import { storageNode } from "../block/storage-node.js";
import { Codecs } from "../codec/codec.js";
import { smallInflate } from "../codec/inflate-small.js";
import { ImageReader } from "../image/reader.js";
import type { Storage } from "../storage/storage.js";

export interface ReaderOptions {
  /** `[qcow2Reader, rawReader]`, or any other drivers. */
  formats: readonly Driver[];
  /** Found by probing when absent. */
  format?: string;
  /** What to read where an image names another file (backing file, data file); without it, or for null, opening fails. */
  reference?: (reference: Reference) => Storage | null | Promise<Storage | null>;
  /** Deflate when absent; for images compressed with zstd `new Codecs([...smallInflate, ...portableZstdDecoder])`. */
  codecs?: Codecs;
  /** Bytes of table caches per image. */
  memoryBudget?: number;
  /** Messages that are not errors. */
  onWarning?: (message: string) => void;
}

const DEFAULT_BUDGET = 16 * 1024 * 1024;

/**
 * Opens an image read-only. Closing it closes the storages it was made of.
 *
 * @throws BlockError ERR_DENIED where the image names a file and `reference` gives none, ERR_UNSUPPORTED for what reading
 * alone can not serve (encryption), and the errors of `open`
 */
export async function openReader(storage: Storage, options: ReaderOptions): Promise<ImageReader> {
  const environment: Environment = {
    drivers: new Map(options.formats.map((driver) => [driver.name, driver])),
    codecs: options.codecs ?? new Codecs(smallInflate),
    gate: (reference) => ask(environment, options, reference),
    secrets: () => done(null),
    now: () => Date.now(),
    memoryBudget: options.memoryBudget ?? DEFAULT_BUDGET,
    warn: options.onWarning ?? (() => {}),
  };
  return new ImageReader(await runAsync(openOp(environment, storage, options.format)));
}

function* openOp(environment: Environment, storage: Storage, format: string | undefined): ReturnType<typeof openNode> {
  const file = yield* storageNode(environment, storage, { write: false });
  try {
    return yield* openNode(environment, { ...(format === undefined ? {} : { driver: format }), options: { file } });
  } finally {
    yield* file.unref();
  }
}

function* ask(environment: Environment, options: ReaderOptions, reference: Reference): ReturnType<Gate> {
  if (options.reference === undefined) return false;
  const storage = (yield* foreign("Opening a reference", null, async () => options.reference!(reference))) as Storage | null;
  if (storage === null) return false;
  const node = yield* storageNode(environment, storage, { write: false });
  // A backing file is an image, the others are plain bytes.
  return reference.kind === "backing" ? { file: node } : node;
}
