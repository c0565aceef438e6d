/** Adding and erasing key slots, with the rules that keep a volume from losing its last key (`qemu-img amend`). */
import { BlockError } from "../../base/error.js";
import type { CreateOption, Environment } from "../../block/context.js";
import type { Op } from "../../block/op.js";
import { DEFAULT_ITER_TIME } from "./luks-create.js";
import { LUKS_SLOTS } from "./luks-header.js";
import type { LuksVolume } from "./luks-volume.js";
import { lookupPassphrase, passphraseOf } from "./secrets.js";

/** The amend options of LUKS. */
export const LUKS_AMEND_OPTIONS: readonly CreateOption[] = [
  { name: "state", type: "string", help: "Select new state of affected keyslots (active/inactive)" },
  { name: "keyslot", type: "number", help: "Select a single keyslot to modify explicitly" },
  { name: "old-secret", type: "string", help: "Select all keyslots that match this password" },
  { name: "new-secret", type: "string", help: "New secret to set in the matching keyslots. Empty string to erase" },
  { name: "iter-time", type: "number", help: "Time to spend in PBKDF in milliseconds" },
];

interface Amendment {
  state: "active" | "inactive";
  keyslot: number | undefined;
  oldSecret: string | undefined;
  newSecret: string | undefined;
  /** Secret that opens the volume, where it is another than it was opened with. */
  secret: string | undefined;
  iterTime: number | undefined;
}

const invalid = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

/** Reads the options whose names begin with `prefix`. */
function readAmendment(options: Readonly<Record<string, unknown>>, prefix: string): Amendment {
  const text = (name: string): string | undefined => {
    const value = options[prefix + name];
    return value === undefined || value === null ? undefined : String(value);
  };
  const number = (name: string): number | undefined => {
    const value = options[prefix + name];
    if (value === undefined || value === null) return undefined;
    const found = typeof value === "string" ? Number(value) : value;
    if (typeof found !== "number" || !Number.isInteger(found)) throw invalid(`Parameter '${name}' expects a number`);
    return found;
  };
  for (const name of Object.keys(options)) {
    if (
      name.startsWith(prefix) &&
      !["state", "keyslot", "old-secret", "new-secret", "secret", "iter-time", "format"].includes(name.slice(prefix.length))
    ) {
      throw invalid(`Parameter '${name.slice(prefix.length)}' is unexpected`);
    }
  }
  const state = text("state");
  if (state === undefined) throw invalid("Parameter 'state' is missing");
  if (state !== "active" && state !== "inactive") throw invalid(`Parameter 'state' does not accept value '${state}'`);
  const iterTime = number("iter-time");
  if (iterTime !== undefined && iterTime <= 0) throw invalid("Parameter 'iter-time' expects a positive number of milliseconds");
  return {
    state,
    keyslot: number("keyslot"),
    oldSecret: text("old-secret"),
    newSecret: text("new-secret"),
    secret: text("secret"),
    iterTime,
  };
}

/**
 * Changes key slots. `keySecret` is the secret the volume was opened with.
 * @throws BlockError ERR_INVALID_ARGUMENT for what would lose data, unless `force`
 */
export function* amendLuks(
  environment: Environment,
  volume: LuksVolume,
  keySecret: string | undefined,
  options: Readonly<Record<string, unknown>>,
  prefix: string,
  force: boolean,
): Op<void> {
  const amendment = readAmendment(options, prefix);
  if (amendment.state === "active") yield* addSlot(environment, volume, keySecret, amendment, prefix, force);
  else yield* eraseSlots(environment, volume, amendment, force);
}

function* addSlot(
  environment: Environment,
  volume: LuksVolume,
  keySecret: string | undefined,
  amendment: Amendment,
  prefix: string,
  force: boolean,
): Op<void> {
  const { keyslot, newSecret } = amendment;
  if (newSecret === undefined) throw invalid("'new-secret' is required to activate a keyslot");
  if (amendment.oldSecret !== undefined) throw invalid("'old-secret' must not be given when activating keyslots");
  checkSlot(keyslot);
  const { slots } = volume.header;
  const index = keyslot ?? slots.findIndex((slot) => !slot.active);
  if (index < 0) throw invalid("Can't add a keyslot - all keyslots are in use");
  if (!force && slots[index]!.active) throw invalid(`Refusing to overwrite active keyslot ${index} - please erase it first`);
  const masterKey = yield* volume.unlock(yield* passphraseOf(environment, amendment.secret ?? keySecret, prefix, "amend"));
  const passphrase = yield* lookupPassphrase(environment, newSecret, "amend");
  yield* volume.fillSlot(index, passphrase, masterKey, amendment.iterTime ?? DEFAULT_ITER_TIME);
  masterKey.fill(0);
}

function* eraseSlots(environment: Environment, volume: LuksVolume, amendment: Amendment, force: boolean): Op<void> {
  const { keyslot, oldSecret } = amendment;
  if (amendment.newSecret !== undefined) throw invalid("'new-secret' must not be given when erasing keyslots");
  if (amendment.iterTime !== undefined) throw invalid("'iter-time' must not be given when erasing keyslots");
  if (amendment.secret !== undefined) throw invalid("'secret' must not be given when erasing keyslots");
  const { slots } = volume.header;
  const active = slots.filter((slot) => slot.active).length;
  const old = oldSecret === undefined ? null : yield* lookupPassphrase(environment, oldSecret, "amend");
  checkSlot(keyslot);
  if (keyslot !== undefined) {
    if (old !== null && (yield* volume.unlockSlot(keyslot, old)) === null) {
      throw invalid(`Given keyslot ${keyslot} doesn't contain the given old password for erase operation`);
    }
    if (!force && !slots[keyslot]!.active) throw invalid(`Given keyslot ${keyslot} is already erased (inactive) `);
    if (!force && active === 1) {
      throw invalid(
        `Attempt to erase the only active keyslot ${keyslot} which will erase all the data in the image irreversibly - refusing operation`,
      );
    }
    yield* volume.eraseSlot(keyslot);
    return;
  }
  if (old === null)
    throw invalid("To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given");
  const matching: number[] = [];
  for (let i = 0; i < LUKS_SLOTS; i++) if ((yield* volume.unlockSlot(i, old)) !== null) matching.push(i);
  if (matching.length === 0) throw invalid("No keyslots match given (old) password for erase operation");
  if (!force && matching.length === active) {
    throw invalid(
      "All the active keyslots match the (old) password that was given and erasing them will erase all the data in the image irreversibly - refusing operation",
    );
  }
  for (const index of matching) yield* volume.eraseSlot(index);
}

function checkSlot(keyslot: number | undefined): void {
  if (keyslot !== undefined && (keyslot < 0 || keyslot >= LUKS_SLOTS)) {
    throw invalid(`Invalid keyslot ${keyslot} specified, must be between 0 and ${LUKS_SLOTS - 1}`);
  }
}
