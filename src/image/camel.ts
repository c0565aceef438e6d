/** QAPI's member names as JavaScript writes them: "virtual-size" → virtualSize, "extended_l2" ↔ extendedL2. */
type Camel<S extends string> = S extends `${infer Head}-${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}` : S;

/** The same plain data with camelCase keys, all the way down. */
export type Camelized<T> = T extends readonly (infer Item)[]
  ? Camelized<Item>[]
  : T extends object
    ? { [Key in keyof T as Key extends string ? Camel<Key> : Key]: Camelized<T[Key]> }
    : T;

const camelKey = (key: string): string => key.replace(/[-_]([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

export function camelize<T>(value: T): Camelized<T> {
  if (Array.isArray(value)) return value.map((item) => camelize(item as unknown)) as Camelized<T>;
  if (typeof value !== "object" || value === null) return value as Camelized<T>;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [camelKey(key), camelize(item as unknown)]),
  ) as Camelized<T>;
}

/**
 * An option as QEMU spells it: the one of `names` that a key in camelCase stands for (keySecret: key-secret, clusterSize:
 * cluster_size), else with `separator` before what were capitals. Keys without capitals are QEMU's own.
 */
export function qemuSpelling(key: string, names: readonly string[], separator: "-" | "_"): string {
  if (!/[A-Z]/.test(key)) return key;
  return names.find((name) => camelKey(name) === key) ?? key.replace(/[A-Z]/g, (letter) => separator + letter.toLowerCase());
}
