/** Numbers of the VMDK formats (VMware "Virtual Disk Format 5.0"); COWD and seSparse as QEMU and others know them. */

export const SECTOR = 512;
/** "KDMV": hosted sparse extents. */
export const HOSTED_MAGIC = "KDMV";
/** "COWD": sparse extents of ESX servers. */
export const COWD_MAGIC = "COWD";

export const Flag = {
  newlineDetect: 0x1,
  redundantDirectory: 0x2,
  zeroedGrain: 0x4,
  compressed: 0x10000,
  markers: 0x20000,
} as const;

export const COMPRESS_DEFLATE = 1;
/** Grain table entry of a grain of zeros, where the header allows it. */
export const GTE_ZEROED = 1;

export const Marker = { endOfStream: 0, grainTable: 1, grainDirectory: 2, footer: 3 } as const;

/** Where the descriptor of a monolithic image lies, and the room it has. */
export const EMBEDDED_DESCRIPTOR_OFFSET = 512;
export const EMBEDDED_DESCRIPTOR_BYTES: number = 20 * SECTOR;
/** Longest descriptor that is read. */
export const MAX_DESCRIPTOR_BYTES = 1048575;

/** Grains above 1 GiB are no grains. */
export const MAX_GRAIN_SECTORS = 0x200000;
/** Grains of images that are written or decompressed: one is held in memory at a time, several with parallel requests. */
export const MAX_BUFFERED_GRAIN: number = 16 << 20;
/** Entries of a grain directory. */
export const MAX_DIRECTORY_ENTRIES: number = 32 << 20;
/** Entries of a grain table of hosted extents. */
export const MAX_TABLE_ENTRIES = 512;
/** Extents of one image. */
export const MAX_EXTENTS = 65536;
/** Sectors an extent file can have: grain table entries have 32 bits. */
export const MAX_FILE_SECTORS = 4294967296;
/** Size of the pieces of split images: 2 GiB. */
export const SPLIT_BYTES = 2147483648;
