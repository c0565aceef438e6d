/** What a user logs in with: nothing, the keys of the agent, the keys in ~/.ssh, in this order. No passphrases are asked for. */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import type { AnyAuthMethod } from "ssh2";

const KEY_FILES = ["id_ed25519", "id_ecdsa", "id_rsa"] as const;

export function* identities({ utils }: typeof import("ssh2"), username: string): Generator<AnyAuthMethod> {
  yield { type: "none", username };
  const agent = process.env["SSH_AUTH_SOCK"];
  if (agent !== undefined && agent !== "") yield { type: "agent", username, agent };
  for (const name of KEY_FILES) {
    const key = contentOf(join(homedir(), ".ssh", name));
    // Keys that want a passphrase are for the agent.
    if (key !== null && !(utils.parseKey(key) instanceof Error)) yield { type: "publickey", username, key };
  }
}

function contentOf(path: string): Buffer | null {
  try {
    return readFileSync(path);
  } catch {
    return null;
  }
}
