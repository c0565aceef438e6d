/** BlockdevOptions: how nodes are described, driver by driver. */
import {
  alternate,
  array,
  bool,
  enumeration,
  int64,
  lazy,
  nul,
  optional,
  str,
  struct,
  uint32,
  uint64,
  union,
  type AnySchema,
  type EnumType,
  type Lazy,
  type Members,
  type OptionalType,
  type StructType,
} from "../../qapi/schema.js";
import { BLKDEBUG_EVENTS } from "../../block/debug-events.js";
import type { JsonObject } from "../../qapi/json.js";
import { cacheOptions, detectZeroes } from "./common.js";

const DRIVERS = [
  "blkdebug",
  "blklogwrites",
  "blkreplay",
  "blkverify",
  "bochs",
  "cloop",
  "compress",
  "copy-before-write",
  "copy-on-read",
  "dmg",
  "file",
  "snapshot-access",
  "ftp",
  "ftps",
  "gluster",
  "host_cdrom",
  "host_device",
  "http",
  "https",
  "io_uring",
  "iscsi",
  "luks",
  "nbd",
  "nfs",
  "null-aio",
  "null-co",
  "nvme",
  "nvme-io_uring",
  "parallels",
  "preallocate",
  "qcow",
  "qcow2",
  "qed",
  "quorum",
  "raw",
  "rbd",
  "replication",
  "ssh",
  "throttle",
  "vdi",
  "vhdx",
  "virtio-blk-vhost-vdpa",
  "vmdk",
  "vpc",
  "vvfat",
] as const;
/** Those of the 2.2 schema that have gone since, and formats that only we know. */
const EXTRA = ["archipelago", "cow", "tftp", "host_floppy"] as const;

/** A node by name, or described in place. */
export const blockdevRef: Lazy<string | JsonObject> = lazy((): AnySchema => refType);
const blockdevRefOrNull: Lazy<string | JsonObject | null> = lazy((): AnySchema => refOrNullType);
const blockdevOptionsLazy: Lazy<JsonObject> = lazy((): AnySchema => blockdevOptions);
const opt = (type: AnySchema): OptionalType => optional(type) as OptionalType;

const onOffAuto = enumeration("OnOffAuto", ["auto", "on", "off"]);
const refType: AnySchema = alternate("BlockdevRef", { definition: blockdevOptionsLazy, reference: str() });
const refOrNullType: AnySchema = alternate("BlockdevRefOrNull", {
  definition: blockdevOptionsLazy,
  reference: str(),
  null: nul(),
});

const formatMembers: Members = { file: blockdevRef };
const cowMembers: Members = { ...formatMembers, backing: optional(blockdevRefOrNull) };
const generic = struct("BlockdevOptionsGenericFormat", formatMembers);
const genericCow = struct("BlockdevOptionsGenericCOWFormat", cowMembers);
const aio = enumeration("BlockdevAioOptions", ["threads", "native", "io_uring"]);
const fileOptions = struct("BlockdevOptionsFile", {
  filename: str(),
  "pr-manager": opt(str()),
  locking: opt(onOffAuto),
  aio: opt(aio),
  "aio-max-batch": opt(int64()),
  "drop-cache": opt(bool()),
  "x-check-cache-dropped": opt(bool()),
});

const overlapFlags = struct("Qcow2OverlapCheckFlags", {
  template: opt(enumeration("Qcow2OverlapCheckMode", ["none", "constant", "cached", "all"])),
  "main-header": opt(bool()),
  "active-l1": opt(bool()),
  "active-l2": opt(bool()),
  "refcount-table": opt(bool()),
  "refcount-block": opt(bool()),
  "snapshot-table": opt(bool()),
  "inactive-l1": opt(bool()),
  "inactive-l2": opt(bool()),
  "bitmap-directory": opt(bool()),
});
const encryption = union(
  "BlockdevQcow2Encryption",
  { format: enumeration("BlockdevQcow2EncryptionFormat", ["aes", "luks"]) },
  "format",
  {
    aes: struct("QCryptoBlockOptionsQCow", { "key-secret": opt(str()) }),
    luks: struct("QCryptoBlockOptionsLUKS", { "key-secret": opt(str()) }),
  },
);
const qcow2 = struct("BlockdevOptionsQcow2", {
  ...cowMembers,
  "lazy-refcounts": opt(bool()),
  "pass-discard-request": opt(bool()),
  "pass-discard-snapshot": opt(bool()),
  "pass-discard-other": opt(bool()),
  "overlap-check": opt(
    alternate("Qcow2OverlapChecks", {
      flags: overlapFlags,
      mode: enumeration("Qcow2OverlapCheckMode", ["none", "constant", "cached", "all"]),
    }),
  ),
  "cache-size": opt(int64()),
  "l2-cache-size": opt(int64()),
  "l2-cache-entry-size": opt(int64()),
  "refcount-cache-size": opt(int64()),
  "cache-clean-interval": opt(int64()),
  encrypt: opt(encryption),
  "data-file": optional(blockdevRef),
});
/** 2.2 spells events with dots. */
const blkdebugOptions = (event: AnySchema): StructType<JsonObject> =>
  struct("BlockdevOptionsBlkdebug", {
    image: blockdevRef,
    config: opt(str()),
    align: opt(int64()),
    "max-transfer": opt(uint32()),
    "opt-write-zero": opt(uint32()),
    "max-write-zero": opt(uint32()),
    "opt-discard": opt(uint32()),
    "max-discard": opt(uint32()),
    "inject-error": opt(
      array(
        struct("BlkdebugInjectErrorOptions", {
          event: event,
          state: opt(int64()),
          iotype: opt(enumeration("BlkdebugIOType", ["read", "write", "write-zeroes", "discard", "flush", "block-status"])),
          errno: opt(int64()),
          sector: opt(int64()),
          once: opt(bool()),
          immediately: opt(bool()),
        }),
      ),
    ),
    "set-state": opt(array(struct("BlkdebugSetStateOptions", { event: event, state: opt(int64()), new_state: int64() }))),
    "take-child-perms": opt(array(str())),
    "unshare-child-perms": opt(array(str())),
  }) as unknown as StructType<JsonObject>;
const inetAddress = struct("InetSocketAddress", {
  host: str(),
  port: str(),
  numeric: opt(bool()),
  to: opt(uint64()),
  ipv4: opt(bool()),
  ipv6: opt(bool()),
  "keep-alive": opt(bool()),
  mptcp: opt(bool()),
});
const socketAddress = union(
  "SocketAddress",
  { type: enumeration("SocketAddressType", ["inet", "unix", "vsock", "fd"]) },
  "type",
  {
    inet: inetAddress,
    unix: struct("UnixSocketAddress", { path: str(), abstract: opt(bool()), tight: opt(bool()) }),
    vsock: struct("VsockSocketAddress", { cid: str(), port: str() }),
    fd: struct("FdSocketAddress", { str: str() }),
  },
);

const fingerprint = { type: enumeration("SshHostKeyCheckHashType", ["md5", "sha1", "sha256"]), hash: str() };
/** A file on an SSH server: of blockdev-add, and the `location` of blockdev-create. */
// oxlint-disable-next-line typescript/no-explicit-any
export const sshOptions: StructType<any> = struct("BlockdevOptionsSsh", {
  server: inetAddress,
  path: str(),
  user: opt(str()),
  "host-key-check": opt(
    union("SshHostKeyCheck", { mode: enumeration("SshHostKeyCheckMode", ["none", "hash", "known_hosts"]) }, "mode", {
      hash: struct("SshHostKeyHash", fingerprint),
    }),
  ),
});

const curlBase: Members = {
  url: str(),
  readahead: opt(int64()),
  timeout: opt(int64()),
  username: opt(str()),
  "password-secret": opt(str()),
  "proxy-username": opt(str()),
  "proxy-password-secret": opt(str()),
};
const curlSecure: Members = { ...curlBase, sslverify: opt(bool()) };
const cookies: Members = { cookie: opt(str()), "cookie-secret": opt(str()) };
const nullOptions = struct("BlockdevOptionsNull", {
  size: opt(int64()),
  "latency-ns": opt(uint64()),
  "read-zeroes": opt(bool()),
});

// oxlint-disable-next-line typescript/no-explicit-any
const VARIANTS: Record<string, StructType<any>> = {
  archipelago: struct("BlockdevOptionsArchipelago", {
    volume: str(),
    mport: opt(int64()),
    vport: opt(int64()),
    segment: opt(str()),
  }),
  blkdebug: blkdebugOptions(enumeration("BlkdebugEvent", BLKDEBUG_EVENTS)),
  blklogwrites: struct("BlockdevOptionsBlklogwrites", {
    file: blockdevRef,
    log: blockdevRef,
    "log-sector-size": opt(uint32()),
    "log-append": opt(bool()),
    "log-super-update-interval": opt(uint64()),
  }),
  blkreplay: struct("BlockdevOptionsBlkreplay", { image: blockdevRef }),
  blkverify: struct("BlockdevOptionsBlkverify", { test: blockdevRef, raw: blockdevRef }),
  bochs: generic,
  cloop: generic,
  compress: generic,
  dmg: generic,
  cow: genericCow,
  "copy-before-write": struct("BlockdevOptionsCbw", {
    ...formatMembers,
    target: blockdevRef,
    bitmap: opt(struct("BlockDirtyBitmap", { node: str(), name: str() })),
    "on-cbw-error": opt(enumeration("OnCbwError", ["break-guest-write", "break-snapshot"])),
    "cbw-timeout": opt(uint32()),
  }),
  "copy-on-read": struct("BlockdevOptionsCor", { ...formatMembers, bottom: opt(str()) }),
  file: fileOptions,
  host_cdrom: fileOptions,
  host_device: fileOptions,
  host_floppy: fileOptions,
  ftp: struct("BlockdevOptionsCurlFtp", curlBase),
  ftps: struct("BlockdevOptionsCurlFtps", curlSecure),
  tftp: struct("BlockdevOptionsCurlTftp", curlBase),
  http: struct("BlockdevOptionsCurlHttp", { ...curlBase, ...cookies }),
  https: struct("BlockdevOptionsCurlHttps", { ...curlSecure, ...cookies }),
  luks: struct("BlockdevOptionsLUKS", { ...formatMembers, "key-secret": opt(str()), header: optional(blockdevRef) }),
  nbd: struct("BlockdevOptionsNbd", {
    server: socketAddress,
    export: opt(str()),
    "tls-creds": opt(str()),
    "tls-hostname": opt(str()),
    "x-dirty-bitmap": opt(str()),
    "reconnect-delay": opt(uint32()),
    "open-timeout": opt(uint32()),
  }),
  "null-aio": nullOptions,
  "null-co": nullOptions,
  parallels: generic,
  preallocate: struct("BlockdevOptionsPreallocate", {
    ...formatMembers,
    "prealloc-align": opt(int64()),
    "prealloc-size": opt(int64()),
  }),
  qcow: struct("BlockdevOptionsQcow", {
    ...cowMembers,
    encrypt: opt(
      union("BlockdevQcowEncryption", { format: enumeration("BlockdevQcowEncryptionFormat", ["aes"]) }, "format", {
        aes: struct("QCryptoBlockOptionsQCow", { "key-secret": opt(str()) }),
      }),
    ),
  }),
  qcow2,
  qed: genericCow,
  quorum: struct("BlockdevOptionsQuorum", {
    blkverify: opt(bool()),
    children: array(blockdevRef),
    "vote-threshold": int64(),
    "rewrite-corrupted": opt(bool()),
    "read-pattern": opt(enumeration("QuorumReadPattern", ["quorum", "fifo"])),
  }),
  raw: struct("BlockdevOptionsRaw", { ...formatMembers, offset: opt(int64()), size: opt(int64()) }),
  "snapshot-access": generic,
  ssh: sshOptions,
  throttle: struct("BlockdevOptionsThrottle", { "throttle-group": str(), file: blockdevRef }),
  vdi: generic,
  vhdx: generic,
  vmdk: genericCow,
  vpc: generic,
  vvfat: struct("BlockdevOptionsVVFAT", {
    dir: str(),
    "fat-type": opt(int64()),
    label: opt(str()),
    floppy: opt(bool()),
    rw: opt(bool()),
  }),
};

export const blockdevDriver: EnumType<string> = enumeration("BlockdevDriver", [...DRIVERS, ...EXTRA] as string[]);

const base = {
  driver: blockdevDriver,
  "node-name": optional(str()),
  discard: optional(enumeration("BlockdevDiscardOptions", ["ignore", "unmap"])),
  cache: optional(cacheOptions),
  "read-only": optional(bool()),
  "auto-read-only": optional(bool()),
  "force-share": optional(bool()),
  "detect-zeroes": optional(detectZeroes as ReturnType<typeof str>),
} as const;

const flat = union("BlockdevOptions", base, "driver", VARIANTS);

/** Names of the drivers whose options are declared here. */
export const DECLARED_DRIVERS: readonly string[] = Object.keys(VARIANTS);

/** BlockdevOptions of today. */
export const blockdevOptions: AnySchema = flat as unknown as AnySchema;

const policy = enumeration("BlockdevOnError", ["report", "ignore", "enospc", "stop"]);

/** BlockdevOptions of 2.2: `id` at the top, what cache, aio and rerror were. */
export const blockdevOptions22: AnySchema = union(
  "BlockdevOptions22",
  {
    ...base,
    id: optional(str()),
    aio: optional(aio),
    rerror: optional(policy),
    werror: optional(policy),
    cache: optional(
      struct("BlockdevCacheOptions22", { writeback: optional(bool()), direct: optional(bool()), "no-flush": optional(bool()) }),
    ),
  },
  "driver",
  { ...VARIANTS, blkdebug: blkdebugOptions(str()) },
) as unknown as AnySchema;
