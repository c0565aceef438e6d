/** What greeting and query-version say. */
import type { Profile } from "./command.js";

export interface VersionInfo {
  qemu: { micro: number; minor: number; major: number };
  package: string;
}

export function versionInfo(profile: Profile): VersionInfo {
  return { qemu: profile === "qemu-2.2" ? { micro: 0, minor: 2, major: 2 } : { micro: 0, minor: 2, major: 7 }, package: "Blockcore" };
}
