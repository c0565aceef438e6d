/** `BlockdevCreateOptions`: what blockdev-create takes for each format. */
import {
  array,
  bool,
  enumeration,
  int32,
  int64,
  optional,
  size,
  str,
  struct,
  union,
  type AnySchema,
  type Members,
  type OptionalType,
  type StructType,
  type UnionType,
} from "../../qapi/schema.js";
import { blockdevRef, sshOptions } from "./blockdev-options.js";
import { prealloc } from "./common.js";

const opt = (type: AnySchema): OptionalType => optional(type) as OptionalType;
const file: Members = { file: blockdevRef, size: size() };

const luks: Members = {
  "key-secret": opt(str()),
  "cipher-alg": opt(str()),
  "cipher-mode": opt(str()),
  "ivgen-alg": opt(str()),
  "ivgen-hash-alg": opt(str()),
  "hash-alg": opt(str()),
  "iter-time": opt(int64()),
};
const encrypt = union("QCryptoBlockCreateOptions", { format: enumeration("QCryptoBlockFormat", ["qcow", "luks"]) }, "format", {
  qcow: struct("QCryptoBlockOptionsQCow", { "key-secret": opt(str()) }),
  luks: struct("QCryptoBlockCreateOptionsLUKS", luks),
});

// oxlint-disable-next-line typescript/no-explicit-any
const VARIANTS: Record<string, StructType<any>> = {
  file: struct("BlockdevCreateOptionsFile", {
    filename: str(),
    size: size(),
    preallocation: opt(prealloc),
    nocow: opt(bool()),
    "extent-size-hint": opt(size()),
  }),
  luks: struct("BlockdevCreateOptionsLUKS", { ...luks, ...file, preallocation: opt(prealloc) }),
  parallels: struct("BlockdevCreateOptionsParallels", { ...file, "cluster-size": opt(size()) }),
  qcow: struct("BlockdevCreateOptionsQcow", { ...file, "backing-file": opt(str()), encrypt: opt(encrypt) }),
  qcow2: struct("BlockdevCreateOptionsQcow2", {
    ...file,
    "data-file": optional(blockdevRef),
    "data-file-raw": opt(bool()),
    "extended-l2": opt(bool()),
    version: opt(enumeration("BlockdevQcow2Version", ["v2", "v3"])),
    "backing-file": opt(str()),
    "backing-fmt": opt(str()),
    encrypt: opt(encrypt),
    "cluster-size": opt(size()),
    preallocation: opt(prealloc),
    "lazy-refcounts": opt(bool()),
    "refcount-bits": opt(int64()),
    "compression-type": opt(enumeration("Qcow2CompressionType", ["zlib", "zstd"])),
  }),
  qed: struct("BlockdevCreateOptionsQed", {
    ...file,
    "backing-file": opt(str()),
    "backing-fmt": opt(str()),
    "cluster-size": opt(size()),
    "table-size": opt(int32()),
  }),
  ssh: struct("BlockdevCreateOptionsSsh", { location: sshOptions, size: size() }),
  vdi: struct("BlockdevCreateOptionsVdi", { ...file, preallocation: opt(prealloc) }),
  vhdx: struct("BlockdevCreateOptionsVhdx", {
    ...file,
    "log-size": opt(size()),
    "block-size": opt(size()),
    subformat: opt(enumeration("BlockdevVhdxSubformat", ["dynamic", "fixed"])),
    "block-state-zero": opt(bool()),
  }),
  vmdk: struct("BlockdevCreateOptionsVmdk", {
    ...file,
    extents: opt(array(blockdevRef)),
    subformat: opt(
      enumeration("BlockdevVmdkSubformat", [
        "monolithicSparse",
        "monolithicFlat",
        "twoGbMaxExtentSparse",
        "twoGbMaxExtentFlat",
        "streamOptimized",
      ]),
    ),
    "backing-file": opt(str()),
    "adapter-type": opt(enumeration("BlockdevVmdkAdapterType", ["ide", "buslogic", "lsilogic", "legacyESX"])),
    hwversion: opt(str()),
    toolsversion: opt(str()),
    "zeroed-grain": opt(bool()),
  }),
  vpc: struct("BlockdevCreateOptionsVpc", {
    ...file,
    subformat: opt(enumeration("BlockdevVpcSubformat", ["dynamic", "fixed"])),
    "force-size": opt(bool()),
  }),
};

/** A node by name, or the options that open one. */
export type BlockdevRef = string | Readonly<Record<string, unknown>>;

export interface CreateOptions {
  driver: string;
  /** Bytes. */
  size: number | bigint;
  file?: BlockdevRef;
  /** Of a protocol's file, where it is not a name. */
  location?: Readonly<Record<string, unknown>>;
  "data-file"?: BlockdevRef;
  extents?: readonly BlockdevRef[];
  [name: string]: unknown;
}

export const blockdevCreateOptions: UnionType<CreateOptions> = union(
  "BlockdevCreateOptions",
  { driver: enumeration("BlockdevDriver", Object.keys(VARIANTS)) },
  "driver",
  VARIANTS,
) as unknown as UnionType<CreateOptions>;
