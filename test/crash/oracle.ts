/** The independent reader that judges crash states: part of the crash oracle outside of this repository, never our own code. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { inflateRawSync, constants } from "node:zlib";

export interface Analysed {
  open: boolean;
  err: string | null;
  dirty: boolean;
  corrupt: boolean;
  corruptions: string[];
  /** Absent: none. */
  ncorr?: number;
  leaks: number;
  vsize: number;
  clusterSize: number;
  snapshots: { l1o: number; l1n: number; size: number; name: string }[];
  read(offset: number, length: number, l1?: number, l1Entries?: number): Buffer;
}
export type Analyse = (image: Buffer) => Analysed;

const inflate = (source: Buffer, clusterSize: number): Buffer =>
  inflateRawSync(source, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: clusterSize }).subarray(0, clusterSize);

const folder = resolve("../shared/data/crash");

/** The reader of the oracle, or null where the oracle is not there. */
export async function loadOracle(): Promise<((backing: Buffer | null) => Analyse) | null> {
  const path = resolve(folder, "qcow2lite.mjs");
  if (!existsSync(path)) return null;
  const { analyse } = (await import(pathToFileURL(path).href)) as { analyse(image: Buffer, options: object): Analysed };
  return (backing) => (image) => analyse(image, { backing, inflate });
}

export interface CrashcheckResult {
  unique: number;
  violations: Record<string, number>;
  examples: unknown[];
  error?: string;
}

/** The oracle's own enumerator, which reads logs from files. */
export async function loadCrashcheck(): Promise<((logFile: string) => CrashcheckResult) | null> {
  const path = resolve(folder, "crashcheck.mjs");
  if (!existsSync(path)) return null;
  // The oracle is a program, too: loaded as a module it must not take our arguments for logs to judge.
  const given = process.argv;
  process.argv = [given[0]!, "crashcheck"];
  try {
    const { check } = (await import(pathToFileURL(path).href)) as { check(file: string): CrashcheckResult };
    return check;
  } finally {
    process.argv = given;
  }
}
