/**
 * `blkdebug`: a filter that fails or stops requests by rule.
 *
 * Rules come from a configuration file (`config`, or `blkdebug:CONFIG:IMAGE`) and from options (`inject-error.0.event=…`). They
 * are set off by events, which the drivers above tell it of: "the L2 table is being read".
 */
import { BlockError, errnoError, prefixError, toBlockError } from "../../base/error.js";
import { alignDown, alignUp } from "../../base/int.js";
import type { Environment, OpenContext } from "../../block/context.js";
import type { DebugEvents, Driver, WriteFlags } from "../../block/driver.js";
import { filenameToOptions } from "../../block/filename.js";
import { discard, flush, read, readBytes, write, writeZeroes } from "../../block/io.js";
import type { Child } from "../../block/node.js";
import { exactFilename } from "../../block/node-filename.js";
import { addFilename, openNode } from "../../block/open.js";
import type { Op } from "../../block/op.js";
import { PERMISSION_OPTIONS, type Permissions } from "../../block/permissions.js";
import { take, takeSize, takeString } from "../../block/take.js";
import { PassThrough, writeBelow } from "../../block/pass-through.js";
import { MAX_CONFIG_BYTES, parseConfig } from "./config.js";
import { Rules } from "./rules.js";

interface Limits {
  align: number;
  maxTransfer: number;
  optWriteZero: number;
  maxWriteZero: number;
  optDiscard: number;
  maxDiscard: number;
}
/** Zeros that are written as data go out in pieces of this many bytes. */
const ZERO_CHUNK = 64 * 1024;

class Blkdebug extends PassThrough {
  readonly debug: DebugEvents;
  readonly alignment: number;
  readonly #rules: Rules;
  readonly #limits: Limits;
  readonly #permissions: { taken: number; unshared: number };

  constructor(child: Child, rules: Rules, limits: Limits, permissions: { taken: number; unshared: number }) {
    super(child);
    this.#permissions = permissions;
    this.#rules = rules;
    this.debug = rules;
    this.#limits = limits;
    this.alignment = limits.align;
  }

  childPermissions({ needed, shared }: Permissions): Permissions {
    const { taken, unshared } = this.#permissions;
    return { needed: needed | taken, shared: shared & ~unshared };
  }

  override *read(into: Uint8Array, offset: number): Op<void> {
    const most = this.#limits.maxTransfer;
    for (let at = 0; at < into.length; at += most) {
      const part = into.subarray(at, Math.min(at + most, into.length));
      this.#rules.check("read", offset + at, part.length);
      yield* read(this.below, part, offset + at);
    }
  }

  /** Something was written, or was to be, since the last flush: as in QEMU the medium hears of no others. */
  #unflushed = false;

  override *write(from: Uint8Array, offset: number, flags: WriteFlags): Op<void> {
    this.#unflushed = true;
    const most = flags.compressed ? from.length : this.#limits.maxTransfer;
    for (let at = 0; at < from.length; at += most) {
      const part = from.subarray(at, Math.min(at + most, from.length));
      yield* this.#rules.event("pwritev");
      this.#rules.check("write", offset + at, part.length);
      yield* writeBelow(this.below, part, offset + at, flags);
    }
    yield* this.#rules.event("pwritev_done");
  }

  override *writeZeroes(offset: number, length: number, flags: WriteFlags): Op<void> {
    this.#unflushed = true;
    const unit = Math.max(this.#limits.optWriteZero, this.alignment);
    for (const [at, run, whole] of pieces(offset, length, unit, this.#limits.maxWriteZero)) {
      yield* this.#rules.event("pwritev_zero");
      if (whole) {
        this.#rules.check("write-zeroes", at, run);
        yield* writeZeroes(this.below, at, run, flags);
      } else {
        if (flags.noFallback) throw errnoError("ENOTSUP");
        yield* this.#zeroBytes(at, run);
      }
    }
    yield* this.#rules.event("pwritev_done");
  }

  *#zeroBytes(offset: number, length: number): Op<void> {
    const zeros = new Uint8Array(Math.min(length, ZERO_CHUNK, this.#limits.maxTransfer));
    for (let at = 0; at < length; at += zeros.length) {
      const part = zeros.subarray(0, Math.min(zeros.length, length - at));
      this.#rules.check("write", offset + at, part.length);
      yield* write(this.below, part, offset + at);
    }
  }

  override *discard(offset: number, length: number): Op<void> {
    // What does not fill the medium's sectors is lost: it is a hint. The rest goes down in pieces of the preferred size and what is around.
    const start = alignUp(offset, this.alignment);
    const end = offset + length === this.size ? offset + length : alignDown(offset + length, this.alignment);
    if (end <= start) return;
    this.#unflushed = true;
    for (const [at, run] of pieces(
      start,
      end - start,
      Math.max(this.#limits.optDiscard, this.alignment),
      this.#limits.maxDiscard,
    )) {
      this.#rules.check("discard", at, run);
      yield* discard(this.below, at, run);
    }
  }

  override *flush(): Op<void> {
    if (this.#unflushed) this.#rules.check("flush", 0, 0);
    yield* flush(this.below);
    this.#unflushed = false;
  }

  // eslint-disable-next-line require-yield
  *beforeStatus(offset: number, length: number): Op<void> {
    this.#rules.check("block-status", offset, length);
  }

  // eslint-disable-next-line require-yield
  override *close(): Op<void> {
    this.#rules.resumeAll();
  }
}

/** A range cut at multiples of `unit`: what lies before the first and behind the last one is not whole; no piece is larger than `most`. */
function* pieces(offset: number, length: number, unit: number, most: number): Generator<[number, number, boolean]> {
  const end = offset + length;
  const first = Math.min(alignUp(offset, unit), end);
  const last = Math.max(first, alignDown(end, unit));
  if (first > offset) yield [offset, first - offset, false];
  const step = Math.max(unit, alignDown(most, unit));
  for (let at = first; at < last; at += step) yield [at, Math.min(step, last - at), true];
  if (end > last) yield [last, end - last, false];
}

function takeLimits(context: OpenContext, below: Child): Limits {
  const { options } = context;
  const alignGiven = takeSize(options, "align") ?? 0;
  if (alignGiven > 0x7fffffff || (alignGiven & (alignGiven - 1)) !== 0) {
    throw new BlockError("ERR_INVALID_ARGUMENT", `Cannot meet constraints with align ${alignGiven}`);
  }
  const impl = below.node.impl;
  const own = (impl.shape === "storage" ? impl.storage.alignment : impl.shape === "intercept" ? impl.alignment : 1) ?? 1;
  const align = Math.max(alignGiven, own);
  const limit = (name: string, least: number, what: string): number => {
    const value = takeSize(options, name) ?? 0;
    // Nothing may be smaller than what one request must be a multiple of.
    if (value !== 0 && (value > 0x7fffffff || value % Math.max(least, alignGiven) !== 0)) {
      throw new BlockError("ERR_INVALID_ARGUMENT", `Cannot meet constraints with ${what} ${value}`);
    }
    return value;
  };
  const maxTransfer = limit("max-transfer", align, "max-transfer");
  const optWriteZero = limit("opt-write-zero", align, "opt-write-zero");
  const maxWriteZero = limit("max-write-zero", Math.max(optWriteZero, align), "max-write-zero");
  const optDiscard = limit("opt-discard", align, "opt-discard");
  const maxDiscard = limit("max-discard", Math.max(optDiscard, align), "max-discard");
  const orMost = (value: number): number => (value === 0 ? Number.MAX_SAFE_INTEGER : value);
  return {
    align,
    maxTransfer: orMost(maxTransfer),
    optWriteZero,
    maxWriteZero: orMost(maxWriteZero),
    optDiscard,
    maxDiscard: orMost(maxDiscard),
  };
}

function* readRules(environment: Environment, rules: Rules, config: string): Op<void> {
  let text: string;
  try {
    const file = yield* openNode(environment, {
      options: filenameToOptions(config, environment.drivers),
      flags: { forceShare: true },
    });
    try {
      if (file.size > MAX_CONFIG_BYTES) throw new BlockError("ERR_TOO_LARGE", "The file is too large");
      text = new TextDecoder().decode(yield* readBytes(file, 0, file.size));
    } finally {
      yield* file.unref();
    }
  } catch (error) {
    const { errno } = toBlockError(error);
    throw prefixError("Could not read blkdebug config file: ", errnoError(errno));
  }
  for (const { name, options } of parseConfig(text, config)) rules.add(name as "inject-error" | "set-state", options);
}

function listOf(name: string, value: unknown): Record<string, unknown>[] {
  if (value === undefined) return [];
  if (typeof value !== "object" || value === null)
    throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid parameter type for '${name}', expected: array`);
  // A single rule needs no number: `inject-error.event=…`.
  if (!Array.isArray(value) && Object.keys(value).some((key) => !/^\d+$/.test(key))) return [value as Record<string, unknown>];
  return Object.values(value).map((item: unknown) => {
    if (typeof item !== "object" || item === null)
      throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid parameter type for '${name}', expected: object`);
    return item as Record<string, unknown>;
  });
}

function takePermissions(options: Record<string, unknown>, name: string): number {
  const given = take(options, name);
  if (given === undefined) return 0;
  if (typeof given !== "object" || given === null)
    throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid parameter type for '${name}', expected: array`);
  let bits = 0;
  for (const word of Object.values(given as Record<string, unknown>)) {
    const bit = PERMISSION_OPTIONS[String(word)];
    if (bit === undefined)
      throw new BlockError("ERR_INVALID_ARGUMENT", `Parameter '${name}' does not accept value '${String(word)}'`);
    bits |= bit;
  }
  return bits;
}

function* openBlkdebug(context: OpenContext): Op<Blkdebug> {
  const { options, environment } = context;
  const rules = new Rules((message) => environment.debugMessage?.(message));
  const config = takeString(options, "config");
  if (config !== undefined) yield* readRules(environment, rules, config);
  const given = {
    "inject-error": listOf("inject-error", take(options, "inject-error")),
    "set-state": listOf("set-state", take(options, "set-state")),
  };
  for (const rule of given["inject-error"]) rules.add("inject-error", rule);
  for (const rule of given["set-state"]) rules.add("set-state", rule);
  const taken = takePermissions(options, "take-child-perms");
  const unshared = takePermissions(options, "unshare-child-perms");
  const image = takeString(options, "x-image");
  if (image !== undefined) options["image"] = addFilename(environment, options["image"], image);
  const child = yield* context.openChild("image", "filtered");
  const impl = new Blkdebug(child, rules, takeLimits(context, child), { taken, unshared });
  yield* rules.event("none");
  return impl;
}

export const blkdebug: Driver = {
  name: "blkdebug",
  category: "filter",
  schemes: ["blkdebug"],
  mutableOptions: [],
  runtimeOptions: [
    "config",
    "image",
    "inject-error",
    "set-state",
    "align",
    "max-transfer",
    "opt-write-zero",
    "max-write-zero",
    "opt-discard",
    "max-discard",
  ],
  strongOptions: [
    "config",
    "inject-error.",
    "set-state.",
    "align",
    "max-transfer",
    "opt-write-zero",
    "max-write-zero",
    "opt-discard",
    "max-discard",
  ],
  exactFilename(node, options) {
    const file = exactFilename(node.child("image")!);
    const isPlain = Object.keys(options).every((name) => ["driver", "config", "image"].includes(name));
    return file === "" || !isPlain ? "" : `blkdebug:${String(options["config"] ?? "")}:${file}`;
  },
  parseFilename(filename) {
    const rest = filename.startsWith("blkdebug:") ? filename.slice("blkdebug:".length) : null;
    // Without the prefix the whole name is the image's.
    if (rest === null) return { "x-image": filename };
    const colon = rest.indexOf(":");
    if (colon < 0) throw new BlockError("ERR_INVALID_ARGUMENT", "blkdebug requires both config file and image path");
    return { ...(colon === 0 ? {} : { config: rest.slice(0, colon) }), "x-image": rest.slice(colon + 1) };
  },
  open: openBlkdebug,
};
