/** The outside data of the simple block formats: images by QEMU and other vendors, with what is known about them. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const DATA = "../shared/data";
const FORMATS = ["vdi", "vpc", "parallels", "bochs", "cloop", "dmg"];

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

/** Unpacks the valid images of our formats into a temporary folder; null when they are not there. */
export function unpackValid(wanted: readonly string[] = FORMATS): { dir: string; entries: ManifestEntry[] } | null {
  const archive = `${DATA}/images.tar.zst`;
  if (!existsSync(archive)) return null;
  const dir = mkdtempSync(join(tmpdir(), "blockcore-formats-"));
  process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
  const patterns = ["valid/manifest.json", ...wanted.map((format) => `valid/${format}-*`)];
  const run = spawnSync("tar", ["-I", "zstd", "-xf", archive, "-C", dir, "--wildcards", ...patterns], { stdio: "pipe" });
  if (run.status !== 0) return null;
  const manifest = JSON.parse(readFileSync(join(dir, "valid/manifest.json"), "utf8")) as { images: ManifestEntry[] };
  return {
    dir: join(dir, "valid"),
    entries: manifest.images.filter((entry) => wanted.some((name) => entry.id.startsWith(`${name}-`))),
  };
}

/** The content of a bzip2-compressed sample; null when it or bunzip2 is not there. */
export function sample(name: string): Uint8Array | null {
  const path = `${DATA}/samples/${name}.bz2`;
  if (!existsSync(path)) return null;
  const run = spawnSync("bunzip2", ["-c", path], { maxBuffer: 1 << 30 });
  return run.status === 0 ? new Uint8Array(run.stdout) : null;
}
