/**
 * Where everything is on the virtual disk. The geometries are QEMU's: a hard disk of 504 MiB (FAT16, FAT32) or 31.5 MiB (FAT12)
 * with one partition from sector 63 on, or a floppy of 1.44 or 2.88 MB without partitions.
 *
 * QEMU's FAT32 has the tables of FAT32 behind the boot sector of FAT16, which nothing can read. Ours follows Microsoft's "FAT32
 * File System Specification" instead.
 */
import { BlockError } from "../../base/error.js";
import { divCeil } from "../../base/int.js";

export const SECTOR = 512;
export const ENTRY = 32;

export type FatType = 12 | 16 | 32;

export interface Layout {
  readonly fatType: FatType;
  readonly cylinders: number;
  readonly heads: number;
  readonly sectorsPerTrack: number;
  /** Sectors of the whole disk. */
  readonly totalSectors: number;
  /** Sector of the boot sector; 0 on floppies. */
  readonly bootSector: number;
  readonly reservedSectors: number;
  readonly sectorsPerCluster: number;
  readonly sectorsPerFat: number;
  /** First sector of the first of two FATs. */
  readonly fatSector: number;
  /** Entries of the root directory where it has a place of its own; 0 for FAT32. */
  readonly rootEntries: number;
  /** Sector where cluster 0 would be: the root directory of FAT12 and FAT16 fills clusters 0 and 1. */
  readonly clusterZero: number;
  /** Clusters, the numbers 0 and 1 counted. */
  readonly clusterCount: number;
  /** First cluster of the root directory: 0 for FAT12 and FAT16. */
  readonly rootCluster: number;
  /** Marks the last cluster of a chain. */
  readonly endOfChain: number;
  readonly clusterSize: number;
  /** Sectors of the file system. */
  readonly volumeSectors: number;
}

/** @throws BlockError ERR_INVALID_ARGUMENT "Valid FAT types are only 12, 16 and 32" */
export function makeLayout(options: { fatType?: number | undefined; floppy?: boolean | undefined }): Layout {
  const floppy = options.floppy ?? false;
  const asked = options.fatType ?? 0;
  const fatType = asked === 0 ? (floppy ? 12 : 16) : asked;
  if (fatType !== 12 && fatType !== 16 && fatType !== 32) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "Valid FAT types are only 12, 16 and 32");
  }
  if (floppy && fatType === 32) throw new BlockError("ERR_INVALID_ARGUMENT", "A floppy is too small for FAT32");
  const cylinders = floppy ? 80 : fatType === 12 ? 64 : 1024;
  const heads = floppy ? 2 : 16;
  const sectorsPerTrack = !floppy ? 63 : asked === 12 ? 18 : 36;
  const totalSectors = cylinders * heads * sectorsPerTrack;
  const bootSector = floppy ? 0 : 63;
  const geometry = { cylinders, heads, sectorsPerTrack, totalSectors, bootSector, volumeSectors: totalSectors - bootSector };
  return fatType === 32 ? wide(geometry) : narrow(geometry, fatType);
}

type Geometry = Pick<Layout, "cylinders" | "heads" | "sectorsPerTrack" | "totalSectors" | "bootSector" | "volumeSectors">;

/** FAT12 and FAT16 as QEMU lays them out: a cluster has 8 KiB, the root directory fills two. */
function narrow(geometry: Geometry, fatType: 12 | 16): Layout {
  const sectorsPerCluster = 16;
  const perFatSector = 1 + Math.floor((sectorsPerCluster * SECTOR * 8) / fatType);
  const sectorsPerFat = Math.floor((geometry.volumeSectors + perFatSector) / perFatSector);
  const fatSector = geometry.bootSector + 1;
  const clusterZero = fatSector + 2 * sectorsPerFat;
  return {
    ...geometry,
    fatType,
    reservedSectors: 1,
    sectorsPerCluster,
    sectorsPerFat,
    fatSector,
    rootEntries: 2 * (SECTOR / ENTRY) * sectorsPerCluster,
    clusterZero,
    clusterCount: Math.floor((geometry.volumeSectors - clusterZero) / sectorsPerCluster),
    rootCluster: 0,
    endOfChain: fatType === 12 ? 0xfff : 0xffff,
    clusterSize: sectorsPerCluster * SECTOR,
  };
}

/** FAT32 needs 65525 clusters at least: 4 KiB each. */
function wide(geometry: Geometry): Layout {
  const sectorsPerCluster = 8;
  const reservedSectors = 32;
  // Each sector of a FAT stands for 128 clusters.
  const perFat = 128 * sectorsPerCluster + 2;
  const sectorsPerFat = divCeil(geometry.volumeSectors - reservedSectors + 2 * sectorsPerCluster, perFat);
  const data = geometry.volumeSectors - reservedSectors - 2 * sectorsPerFat;
  const fatSector = geometry.bootSector + reservedSectors;
  return {
    ...geometry,
    fatType: 32,
    reservedSectors,
    sectorsPerCluster,
    sectorsPerFat,
    fatSector,
    rootEntries: 0,
    clusterZero: fatSector + 2 * sectorsPerFat - 2 * sectorsPerCluster,
    clusterCount: Math.floor(data / sectorsPerCluster) + 2,
    rootCluster: 2,
    endOfChain: 0x0fffffff,
    clusterSize: sectorsPerCluster * SECTOR,
  };
}
