/** What Node.js provides to the block layer: files, zlib, the kernel module. Shared by `blockcore/node` and the programs. */
import { unlinkSync } from "node:fs";
import { absentDrivers } from "./absent-drivers.js";
import { allFilters } from "./all-filters.js";
import { allFormats } from "./all-formats.js";
import type { Environment, Gate, GateDecision } from "../block/context.js";
import type { Driver } from "../block/driver.js";
import { done, type Op } from "../block/op.js";
import { protocolDriver } from "../block/protocol.js";
import { nodeCodecs } from "../codec/node-codecs.js";
import { nodeCrypto } from "../codec/node-crypto.js";
import { ftpDrivers } from "./ftp-drivers.js";
import { httpDrivers } from "./http-drivers.js";
import { offerJsonNames } from "../block/json-names.js";
import { jsonNames } from "../block/json-names-qapi.js";
import { offerKernelModule } from "../kernel/kernel.js";
import { kernelModule } from "../kernel/module.inline.js";
import { nbd } from "../nbd/node-driver.js";
import { ssh } from "./node-ssh-driver.js";
import { vvfat } from "./node-directories.js";
import { nullDrivers } from "../filters/null.js";
import { descriptorSets } from "../storage/node-descriptors.js";
import { createFileStorage, openFileStorage, openFileStorageAsync } from "../storage/node-fs.js";
import { isDevice } from "../storage/node-open.js";

/**
 * How calls on files are made where there is time to wait. "both": all on other threads. "sync": all on the spot, right for short
 * commands. "ahead": on the spot but for large reads, so that others copy from one file while this one copies to the next.
 */
export type FileCalls = "both" | "sync" | "ahead";

export interface NodeEnvironmentOptions {
  /** Default "both". */
  faces?: FileCalls;
  /** Default: nothing an image names is opened. */
  gate?: Gate;
  secrets?: (id: string, purpose: string) => Op<Uint8Array | null>;
  warn?: (message: string) => void;
  /** TLS credentials and other objects by id. */
  findObject?: NonNullable<Environment["findObject"]>;
  /** Throttle groups by name. */
  findThrottleGroup?: NonNullable<Environment["findThrottleGroup"]>;
  /** Messages that go without "warning:" before them. */
  notice?: (message: string) => void;
  /** See Environment. */
  report?: NonNullable<Environment["report"]>;
  /** What blkdebug says when it stops requests and lets them go on. */
  debugMessage?: (message: string) => void;
  /** See Environment. */
  imagesDiffer?: NonNullable<Environment["imagesDiffer"]>;
  /** Added to, or put in the place of, the formats of this build. */
  formats?: readonly Driver[];
  /** Bytes of table caches per image. */
  memoryBudget?: number;
}

const DEFAULT_BUDGET = 64 * 1024 * 1024;

export const allowAll: Gate = () => done<GateDecision>(true);
const denyAll: Gate = () => done<GateDecision>(false);

/** The `file` protocol over node:fs. */
export function fileDriver(faces: FileCalls): Driver {
  return protocolDriver({
    name: "file",
    open: {
      sync: (name, options) => openFileStorage(name, { ...options, faces, only: "file", firstBlock: true }),
      async:
        faces !== "both" ? null : (name, options) => openFileStorageAsync(name, { ...options, only: "file", firstBlock: true }),
    },
    create: { sync: (name) => createFileStorage(name, { faces, firstBlock: true }), async: null },
    remove: { sync: (name) => unlinkSync(name), async: null },
  });
}

/** Disks and other devices of the host, by their names in /dev. Plain names of devices come here by themselves, as `host_device`. */
function deviceDriver(name: "host_device" | "host_cdrom", faces: FileCalls): Driver {
  return protocolDriver({
    name,
    ...(name === "host_device" ? { claims: isDevice } : {}),
    open: {
      sync: (path, options) => openFileStorage(path, { ...options, faces, only: name }),
      async: faces !== "both" ? null : (path, options) => openFileStorageAsync(path, { ...options, only: name }),
    },
    create: { sync: (path) => createFileStorage(path, { faces, only: name }), async: null },
  });
}

/** Everything that the host's files are opened by. */
function hostDrivers(faces: FileCalls): Driver[] {
  return [fileDriver(faces), deviceDriver("host_device", faces), deviceDriver("host_cdrom", faces), vvfat];
}

/** Everything but formats: filters, and what is not an image but serves one. */
export function hostedDrivers(faces: FileCalls): Driver[] {
  return [...nullDrivers, ...allFilters, nbd, ssh, ...httpDrivers(), ...ftpDrivers, ...absentDrivers, ...hostDrivers(faces)];
}

export function nodeEnvironment(options: NodeEnvironmentOptions = {}): Environment {
  offerKernelModule(kernelModule);
  offerJsonNames(jsonNames);
  const drivers = new Map<string, Driver>();
  for (const driver of [...allFormats, ...(options.formats ?? []), ...hostedDrivers(options.faces ?? "both")])
    drivers.set(driver.name, driver);
  return {
    drivers,
    codecs: nodeCodecs,
    crypto: nodeCrypto,
    gate: options.gate ?? denyAll,
    secrets: options.secrets ?? (() => done(null)),
    now: () => Date.now(),
    memoryBudget: options.memoryBudget ?? DEFAULT_BUDGET,
    descriptors: descriptorSets,
    warn: options.warn ?? (() => {}),
    ...(options.findObject === undefined ? {} : { findObject: options.findObject }),
    ...(options.findThrottleGroup === undefined ? {} : { findThrottleGroup: options.findThrottleGroup }),
    ...(options.notice === undefined ? {} : { notice: options.notice }),
    ...(options.debugMessage === undefined ? {} : { debugMessage: options.debugMessage }),
    ...(options.report === undefined ? {} : { report: options.report }),
    ...(options.imagesDiffer === undefined ? {} : { imagesDiffer: options.imagesDiffer }),
  };
}
