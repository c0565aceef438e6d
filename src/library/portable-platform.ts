/** What a `BlockCore` has where there is no file system of a host. */
import { absentDrivers } from "../platform/absent-drivers.js";
import { allFilters } from "../platform/all-filters.js";
import type { BlockCorePlatform } from "./block-core.js";
import type { Driver } from "../block/driver.js";
import type { Codecs } from "../codec/codec.js";
import { portableCrypto } from "../codec/crypto/portable-crypto.js";
import { httpDrivers } from "../platform/http-drivers.js";
import { nullDrivers } from "../filters/null.js";
import { portableStorage, type PortableSource } from "../platform/sources.js";
import type { SchemeOpener } from "../platform/named-files.js";

/** @param schemes what opens names like "opfs:disk.qcow2" */
export function portablePlatform(
  formats: readonly Driver[],
  codecs: Codecs,
  schemes: Readonly<Record<string, SchemeOpener>> = {},
): BlockCorePlatform<PortableSource> {
  return {
    formats,
    codecs,
    crypto: portableCrypto,
    drivers: [...allFilters, ...nullDrivers, ...httpDrivers(), ...absentDrivers],
    schemes,
    toStorage: (source) => portableStorage(source, true),
  };
}
