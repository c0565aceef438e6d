/** Which keys a server is known by: OpenSSH's known_hosts files (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), hashed names included. */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** When first needed: importing it takes time at every start. */
const loadCrypto = (): typeof import("node:crypto") => process.getBuiltinModule("node:crypto");

/** "known": the key is listed; "changed": another one of its type is; "other-type": only ones of other types are. */
export type HostKeyVerdict = "known" | "changed" | "other-type" | "unknown";

interface KnownKey {
  type: string;
  /** As the file has it. */
  base64: string;
  revoked: boolean;
}

/** The keys of one server. */
export class KnownKeys {
  readonly #keys: readonly KnownKey[];

  /** @param text the lines of known_hosts files */
  constructor(text: string, host: string, port: number) {
    const names = port === 22 ? [host] : [`[${host}]:${port}`];
    this.#keys = text.split(/\r?\n/).flatMap((line) => keyIn(line, names) ?? []);
  }

  /** Types of its keys: a server that has several is asked for one of these. */
  get types(): string[] {
    return [...new Set(this.#keys.filter(({ revoked }) => !revoked).map(({ type }) => type))];
  }

  judge(key: Uint8Array): HostKeyVerdict {
    const base64 = Buffer.from(key).toString("base64");
    const same = this.#keys.filter((known) => known.base64 === base64);
    if (same.some(({ revoked }) => revoked)) return "changed";
    if (same.length > 0) return "known";
    const { types } = this;
    return types.includes(keyType(key)) ? "changed" : types.length > 0 ? "other-type" : "unknown";
  }
}

/** The key of a line where that is about one of `names`; lines that make no sense are no keys. */
function keyIn(line: string, names: readonly string[]): KnownKey | null {
  const words = line.trim().split(/[ \t]+/);
  const marker = words[0]!.startsWith("@") ? words.shift() : undefined;
  const [hosts, type, base64] = words;
  if (hosts === undefined || type === undefined || base64 === undefined || hosts.startsWith("#")) return null;
  // Keys of authorities say nothing about the server's own.
  if (marker !== undefined && marker !== "@revoked") return null;
  if (!names.some((name) => matches(hosts, name))) return null;
  return { type, base64, revoked: marker === "@revoked" };
}

function matches(hosts: string, name: string): boolean {
  if (hosts.startsWith("|")) {
    const [, salt, hash] = /^\|1\|([^|]+)\|([^|]+)$/.exec(hosts) ?? [];
    if (salt === undefined || hash === undefined) return false;
    return loadCrypto().createHmac("sha1", Buffer.from(salt, "base64")).update(name).digest("base64") === hash;
  }
  return matchesPatterns(hosts.split(","), name);
}

/** One of the patterns matches, and none that begins with "!". */
export function matchesPatterns(patterns: readonly string[], name: string): boolean {
  let found = false;
  for (const pattern of patterns) {
    const negated = pattern.startsWith("!");
    if (!matchesPattern(negated ? pattern.slice(1) : pattern, name)) continue;
    if (negated) return false;
    found = true;
  }
  return found;
}

/** `*` and `?`, without regard to case. Takes time linear in pattern times name, whatever the pattern. */
function matchesPattern(pattern: string, name: string): boolean {
  const wanted = pattern.toLowerCase();
  const text = name.toLowerCase();
  // reached[i]: the pattern so far can end before text[i].
  let reached = Array.from({ length: text.length + 1 }, (_, at) => at === 0);
  for (const char of wanted) {
    let any = false;
    reached = reached.map((was, at) => {
      any ||= was;
      if (char === "*") return any;
      return at > 0 && reached[at - 1]! && (char === "?" || char === text[at - 1]);
    });
  }
  return reached[text.length]!;
}

/** The hash of a public key that people compare. */
export const fingerprint = (key: Uint8Array, hash: string): Buffer => loadCrypto().createHash(hash).update(key).digest();

/** The name of a public key's type, which its encoding begins with (RFC 4253, 6.6). */
export function keyType(key: Uint8Array): string {
  const bytes = Buffer.from(key.buffer, key.byteOffset, key.length);
  const length = bytes.length < 4 ? 0 : bytes.readUInt32BE(0);
  return length > 64 ? "" : bytes.toString("latin1", 4, 4 + length);
}

const files = (): readonly string[] => [join(homedir(), ".ssh", "known_hosts"), "/etc/ssh/ssh_known_hosts"];

/** What this user and this machine know of a server. */
export function knownKeys(host: string, port: number): KnownKeys {
  const texts = files().map((path) => {
    try {
      return readFileSync(path, "latin1");
    } catch {
      return "";
    }
  });
  return new KnownKeys(texts.join("\n"), host, port);
}
