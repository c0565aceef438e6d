/** What greeting and query-version say. */
import type { Profile } from "./command.js";

export interface VersionInfo {
  qemu: { major: number; minor: number; micro: number };
  package: string;
}

export function versionInfo(profile: Profile): VersionInfo {
  return { qemu: { major: profile === "qemu-2.2" ? 2 : 7, minor: 2, micro: 0 }, package: "Blockcore" };
}
