/** The outside data: images by QEMU and other vendors with what is known about them, and what damaged ones must do. */
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { gunzipSync } from "node:zlib";
import { memoryStorage } from "../../src/storage/memory.js";
import { allFormats } from "../../src/platform/all-formats.js";
import { makeWorld, type Mode, type World } from "../support/world.js";

const DATA = "../shared/data";

export interface ManifestEntry {
  id: string;
  format: string;
  file: string;
  probed_format: string;
  virtual_size: number;
  sha256?: string;
  secret?: string;
  open_opts?: Record<string, unknown>;
  extents: [number, number, string][];
  info: Record<string, unknown>;
  map: Record<string, unknown>[];
  check: { rc: number; json: Record<string, unknown> | null };
}

export interface ValidImages {
  dir: string;
  entries: ManifestEntry[];
}

/** Unpacks the valid images whose names begin with one of the prefixes and a dash; null when they are not there. */
export function unpackValid(prefixes: readonly string[]): ValidImages | null {
  const archive = `${DATA}/images.tar.zst`;
  if (!existsSync(archive)) return null;
  const dir = mkdtempSync(join(tmpdir(), "blockcore-images-"));
  process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
  const patterns = ["valid/manifest.json", ...prefixes.map((prefix) => `valid/${prefix}-*`)];
  const run = spawnSync("tar", ["-I", "zstd", "-xf", archive, "-C", dir, "--wildcards", ...patterns], { stdio: "pipe" });
  if (run.status !== 0) return null;
  const manifest = JSON.parse(readFileSync(join(dir, "valid/manifest.json"), "utf8")) as { images: ManifestEntry[] };
  return {
    dir: join(dir, "valid"),
    entries: manifest.images.filter((entry) => prefixes.some((prefix) => entry.id.startsWith(`${prefix}-`))),
  };
}

/** A world with all formats that holds all files of a folder. */
export function worldOfFolder(folder: string, mode: Mode = "sync"): World {
  const world = makeWorld({ mode, drivers: allFormats });
  for (const name of readdirSync(folder)) world.files.set(name, memoryStorage(readFileSync(join(folder, name)), { name }));
  return world;
}

/** The content of a bzip2-compressed sample; null when it or bunzip2 is not there. */
export function sample(name: string): Uint8Array | null {
  const path = `${DATA}/samples/${name}.bz2`;
  if (!existsSync(path)) return null;
  const run = spawnSync("bunzip2", ["-c", path], { maxBuffer: 1 << 30 });
  return run.status === 0 ? new Uint8Array(run.stdout) : null;
}

/** What our duty is for a damaged image; what is not named is free, as long as it is no crash. */
export interface Duty {
  open?: string;
  read?: string;
  /** "refuse": it names something else, and does not open unless the caller allows that. */
  default?: string;
  check_rc?: number;
  repair_then_check_rc?: number;
  content_sha256?: string;
  max_cpu_s: number;
  max_rss_extra_mb: number;
}

/** A damaged or hostile image. */
export interface HostileCase {
  id: string;
  format: string;
  files: Map<string, Buffer | { path: string; size: number }>;
  main: string;
  secret?: string;
  openOpts?: Record<string, unknown>;
  /** What the real qemu-img did with it. */
  qemu: { check?: QemuRun; repair?: QemuRun & { content_same_as_base?: boolean } };
  expect: Duty;
}
export interface QemuRun {
  rc: number;
  err?: string;
  corruptions?: number;
  leaks?: number;
  "check-errors"?: number;
}

/** A damaged image that is made when its test comes to it: all of them at once would be gigabytes. */
export interface LazyCase {
  id: string;
  load(): HostileCase;
}

/** The one hostile case that this process is about, where it is about one. */
export const onlyCase: string | undefined = process.env["BLOCKCORE_HOSTILE"];

/**
 * The damaged images which `filter` takes (of these `onlyCase`, if there is one), made from the valid ones of the prefixes, in the
 * order in which they must be loaded; null when they are not there.
 */
export async function hostileCases(
  prefixes: readonly string[],
  filter: (entry: HostileEntry) => boolean,
): Promise<LazyCase[] | null> {
  const taken = (entry: HostileEntry): boolean => filter(entry) && (onlyCase === undefined || entry.id === onlyCase);
  if (!existsSync(`${DATA}/hostile/cases.mjs`)) return null;
  const valid = unpackValid(prefixes);
  if (valid === null) return null;
  const root = dirname(valid.dir);
  mkdirSync(join(root, "corrupt"));
  for (const name of ["cases.json.gz", "expect.json.gz"]) copyFileSync(`${DATA}/hostile/${name}`, join(root, "corrupt", name));
  const module = (await import(pathToFileURL(resolve(DATA, "hostile/cases.mjs")).href)) as {
    loadCorrupt(dir: string, options: { filter: typeof taken }): Iterable<HostileCase>;
  };
  const { cases } = JSON.parse(gunzipSync(readFileSync(`${DATA}/hostile/cases.json.gz`)).toString()) as { cases: HostileEntry[] };
  const source = module.loadCorrupt(root, { filter: taken })[Symbol.iterator]();
  return cases.filter(taken).map(({ id }) => ({
    id,
    load() {
      for (;;) {
        const { value, done } = source.next();
        if (done === true) throw new Error(`the cases are loaded in their order: ${id} is behind`);
        if (value.id === id) return value;
      }
    },
  }));
}

interface HostileEntry {
  id: string;
  format: string;
  base: string | null;
}
