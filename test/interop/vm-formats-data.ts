/** The outside data of vmdk and vhdx: images by QEMU and other vendors, with what is known about them. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Driver } from "../../src/block/driver.js";
import { raw } from "../../src/formats/raw/raw.js";
import { vhdx } from "../../src/formats/vhdx/vhdx.js";
import { vmdk } from "../../src/formats/vmdk/vmdk.js";
import { memoryStorage } from "../../src/storage/memory.js";
import { makeWorld, type Mode, type World } from "../support/world.js";

export const DATA = "../shared/data";
export const FORMATS: readonly string[] = ["vmdk", "vhdx"];
export const drivers: readonly Driver[] = [raw, vmdk, vhdx];

export interface ManifestEntry {
  id: string;
  format: string;
  file: string;
  probed_format: string;
  virtual_size: number;
  sha256?: string;
  extents: [number, number, string][];
  info: Record<string, unknown>;
  map: Record<string, unknown>[];
  check: { rc: number; json: Record<string, unknown> | null };
}

/** Unpacks the valid images of our formats into a temporary folder; null when they are not there. */
export function unpackValid(): { dir: string; entries: ManifestEntry[] } | null {
  const archive = `${DATA}/images.tar.zst`;
  if (!existsSync(archive)) return null;
  const dir = mkdtempSync(join(tmpdir(), "blockcore-vm-formats-"));
  process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
  const patterns = ["valid/manifest.json", ...FORMATS.map((format) => `valid/${format}-*`)];
  const run = spawnSync("tar", ["-I", "zstd", "-xf", archive, "-C", dir, "--wildcards", ...patterns], { stdio: "pipe" });
  if (run.status !== 0) return null;
  const manifest = JSON.parse(readFileSync(join(dir, "valid/manifest.json"), "utf8")) as { images: ManifestEntry[] };
  return { dir: join(dir, "valid"), entries: manifest.images.filter((entry) => FORMATS.includes(entry.format)) };
}

/** A world that holds all files of a folder. */
export function worldOfFolder(folder: string, mode: Mode = "sync"): World {
  const world = makeWorld({ mode, drivers });
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
