/** Numbers of the NBD protocol (NetworkBlockDevice/nbd, doc/proto.md). */

export const NBD_MAGIC = "NBDMAGIC";
export const OPTION_MAGIC = "IHAVEOPT";
export const OPTION_REPLY_MAGIC_HI = 0x0003e889;
export const OPTION_REPLY_MAGIC_LO = 0x045565a9;

export const HandshakeFlag = { fixedNewstyle: 1, noZeroes: 2 } as const;

export const Option = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
  extendedHeaders: 11,
} as const;

/** Error replies have the top bit set. */
export const Reply = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  unsupported: 0x80000001,
  policy: 0x80000002,
  invalid: 0x80000003,
  platform: 0x80000004,
  tlsRequired: 0x80000005,
  unknown: 0x80000006,
  shutdown: 0x80000007,
  blockSizeRequired: 0x80000008,
  tooBig: 0x80000009,
} as const;

export const Info = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

export const ExportFlag = {
  hasFlags: 1,
  readOnly: 2,
  flush: 4,
  fua: 8,
  rotational: 16,
  trim: 32,
  writeZeroes: 64,
  df: 128,
  multiConn: 256,
  resize: 512,
  cache: 1024,
  fastZero: 2048,
} as const;

export const REQUEST_MAGIC = 0x25609513;
export const EXTENDED_REQUEST_MAGIC = 0x21e41c71;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const CHUNK_MAGIC = 0x668e33ef;
export const EXTENDED_CHUNK_MAGIC = 0x6e8a278c;

export const Command = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, cache: 5, writeZeroes: 6, blockStatus: 7 } as const;
export const CommandFlag = { fua: 1, noHole: 2, df: 4, requestOne: 8, fastZero: 16, payloadLength: 32 } as const;

export const ChunkType = {
  none: 0,
  data: 1,
  hole: 2,
  blockStatus: 5,
  blockStatusExtended: 6,
  error: 32769,
  errorOffset: 32770,
} as const;
export const CHUNK_DONE = 1;

/** Error numbers on the wire. */
export const NbdError = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;

export const StateFlag = { hole: 1, zero: 2 } as const;

/** Longest export name, in bytes. */
export const MAX_NAME = 4096;
/** Longest option we read; what is longer is refused and drained in small pieces. */
export const MAX_OPTION: number = 64 * 1024;
/** Largest payload of one request, as QEMU has it. */
export const MAX_PAYLOAD: number = 32 * 1024 * 1024;
