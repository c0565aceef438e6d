/**
 * The functions of the package, each made for one platform: what a source may be and how it becomes a storage is the entry's
 * business, all the rest is the same everywhere. Each by itself, so that a bundle holds those that are used.
 */
import type { Driver, Measure } from "../block/driver.js";
import { runAsync } from "../block/op.js";
import { checkOptions } from "../image/arguments.js";
import { compareImages, type CompareOptions, type CompareResult } from "../image/compare.js";
import type { Image } from "../image/image.js";
import { measureImage } from "../image/measure.js";
import type { ConvertPlan } from "../image/plan.js";
import type { SyncImage } from "../image/sync-image.js";
import { optsOf } from "./create.js";
import { environmentOf } from "./environment.js";
import { using } from "./open.js";
import {
  COMPARE,
  MEASURE,
  type CommonOptions,
  type ConvertTo,
  type CreateOptions,
  type ImageStream,
  type OpenOptions,
  type Platform,
  type StreamTo,
} from "./options.js";

export { makeConvert, planConversion } from "./convert.js";
export { makeConvertToStream } from "./convert-to-stream.js";
export { makeCreate, makeCreateOverlay } from "./create.js";
export { makeOpen, makeOpenSync } from "./open.js";

export interface Library<Source> {
  open(source: Source, options?: OpenOptions<Source>): Promise<Image>;
  /** For sources with synchronous access. */
  openSync(source: Source, options?: OpenOptions<Source>): SyncImage;
  /** Makes an image in a file or an (empty, writable) storage. */
  create(target: Source, options: CreateOptions<Source>): Promise<void>;
  /** Makes an image on top of another and opens it for writing. */
  createOverlay(
    target: Source,
    options: Omit<CreateOptions<Source>, "format"> & { format?: string; backing: string; backingFormat: string },
  ): Promise<Image>;
  /** Copies the content of an image into a new one. */
  convert(source: Image | Source, target: Source, options?: ConvertTo<Source>): Promise<void>;
  /**
   * The content of an image as a new one in one pass: raw, qcow2 (without compression, backing file and encryption), vpc, vdi, vhdx, or
   * a streamOptimized vmdk. Its length is known beforehand (a Content-Length). An image that was passed open must not be written meanwhile.
   */
  convertToStream(source: Image | Source, options?: StreamTo<Source>): Promise<ImageStream>;
  planConvert(
    source: Image,
    options: { format: string; options?: Readonly<Record<string, unknown>>; compress?: boolean },
  ): Promise<ConvertPlan>;
  compare(
    first: Image | Source,
    second: Image | Source,
    options?: CompareOptions & CommonOptions<Source>,
  ): Promise<CompareResult>;
  /** Bytes a new image would need: of this size, or with the content of this image. */
  measure(
    source: Image | number,
    options: { format: string; options?: Readonly<Record<string, unknown>>; formats?: readonly Driver[] },
  ): Promise<Measure>;
  resize(image: Image, size: number, options?: { shrink?: boolean }): Promise<void>;
}

export function makeCompare<Source>(platform: Platform<Source>): Library<Source>["compare"] {
  return async (first, second, options = {}) => {
    checkOptions("compare", options, COMPARE);
    return using(platform, first, options, (a) =>
      using(platform, second, options, (b) => runAsync(compareImages(a.node, b.node, options))),
    );
  };
}

export function makeMeasure<Source>(platform: Platform<Source>): Library<Source>["measure"] {
  return async (source, options) => {
    checkOptions("measure", options, MEASURE);
    const { format, formats } = options;
    const ofSize = typeof source === "number";
    const environment =
      ofSize || formats !== undefined
        ? environmentOf(platform, formats === undefined ? {} : { formats })
        : source.node.environment;
    const opts = optsOf(environment, format, options.options);
    const what = ofSize ? { size: source } : { source: source.node };
    return await runAsync(measureImage(environment, { format, options: opts, ...what }));
  };
}

/** The same on every platform. */
export const resizeImage: Library<unknown>["resize"] = (image, size, options = {}) => image.resize(size, options);
