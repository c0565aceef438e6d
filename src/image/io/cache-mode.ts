/** Cache modes by name, as -t and -c take them. */

export interface CacheMode {
  direct: boolean;
  noFlush: boolean;
  writethrough: boolean;
}

const CACHE_MODES: Readonly<Record<string, CacheMode>> = {
  none: { direct: true, noFlush: false, writethrough: false },
  off: { direct: true, noFlush: false, writethrough: false },
  directsync: { direct: true, noFlush: false, writethrough: true },
  writeback: { direct: false, noFlush: false, writethrough: false },
  unsafe: { direct: false, noFlush: true, writethrough: false },
  writethrough: { direct: false, noFlush: false, writethrough: true },
};

/** Null: no such cache mode. */
export function cacheMode(name: string): CacheMode | null {
  return Object.hasOwn(CACHE_MODES, name) ? CACHE_MODES[name]! : null;
}
