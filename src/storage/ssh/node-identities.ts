/**
 * What a user logs in with: nothing, the keys of the agent, those that ~/.ssh/config names for the server, those in ~/.ssh, in this
 * order. No passphrases are asked for.
 */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import type { AnyAuthMethod } from "ssh2";
import { matchesPatterns } from "./node-known-hosts.js";

const KEY_FILES = ["id_ed25519", "id_ecdsa", "id_rsa"] as const;

export function* identities(
  { utils }: typeof import("ssh2"),
  { user: username, host }: { user: string; host: string },
): Generator<AnyAuthMethod> {
  yield { type: "none", username };
  const agent = process.env["SSH_AUTH_SOCK"];
  if (agent !== undefined && agent !== "") yield { type: "agent", username, agent };
  const directory = join(homedir(), ".ssh");
  const named = identityFiles(contentOf(join(directory, "config"))?.toString() ?? "", host);
  for (const path of [...named, ...KEY_FILES.map((name) => join(directory, name))]) {
    const key = contentOf(path);
    // Keys that want a passphrase are for the agent.
    if (key !== null && !(utils.parseKey(key) instanceof Error)) yield { type: "publickey", username, key };
  }
}

/** What IdentityFile says for a host (ssh_config(5)), outside Match blocks; other keywords are left alone. */
export function identityFiles(config: string, host: string): string[] {
  const found: string[] = [];
  let isOurs = true;
  for (const line of config.split(/\r?\n/)) {
    const [, keyword = "", rest = ""] = /^\s*([A-Za-z]+)(?:\s*=\s*|\s+)(.*?)\s*$/.exec(line) ?? [];
    const words = rest.match(/"[^"]*"|[^\s"]+/g)?.map((word) => word.replaceAll('"', "")) ?? [];
    const [first = "none"] = words;
    switch (keyword.toLowerCase()) {
      case "host":
        isOurs = matchesPatterns(words, host);
        break;
      case "match":
        isOurs = false;
        break;
      case "identityfile":
        if (isOurs && first !== "none") found.push(first.replace(/^(~|%d)(?=\/)/, () => homedir()));
        break;
      default:
    }
  }
  return found;
}

function contentOf(path: string): Buffer | null {
  try {
    return readFileSync(path);
  } catch {
    return null;
  }
}
