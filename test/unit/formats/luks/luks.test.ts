/** LUKS volumes: creation, reading and writing against a flat model, key slots, damaged headers. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../../src/base/error.js";
import { flush, read, truncate, write, writeZeroes } from "../../../../src/block/io.js";
import type { Node } from "../../../../src/block/node.js";
import type { BlockdevOptions } from "../../../../src/block/context.js";
import { luks } from "../../../../src/formats/luks/luks.js";
import { qcow2 } from "../../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { bestDriver } from "../../../../src/block/open.js";
import { imageInfo } from "../../../../src/image/info.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { chooseSeed, random } from "../../../support/random.js";
import { makeWorld, MODES, type Mode, type World } from "../../../support/world.js";

const SECRETS = {
  first: "first passphrase",
  second: "der zweite Schlüssel",
  third: "3",
  binary: "tail\0ignored",
  "binary-short": "tail",
};
const KEY = { "key-secret": "first" };
const FAST = { ...KEY, "iter-time": 1 };

const makeTestWorld = (mode: Mode = "sync", seed = 1): World =>
  makeWorld({ mode, drivers: [raw, qcow2, luks], secrets: SECRETS, seed });
const openLuks = (world: World, options: BlockdevOptions = KEY, name = "image"): Promise<Node> =>
  world.open("luks", name, { write: true }, options);

async function refused(work: Promise<unknown>, message: string | RegExp): Promise<void> {
  let failure: unknown;
  try {
    await work;
  } catch (error) {
    failure = error;
  }
  assert.instance(failure, BlockError, "nothing was refused");
  if (typeof message === "string") assert.is((failure as BlockError).message, message);
  else assert.match((failure as BlockError).message, message);
}

for (const mode of MODES) {
  test(`random requests against a flat model (${mode})`, async () => {
    const seed = chooseSeed();
    const chance = random(seed);
    console.log(`seed ${seed}`);
    const world = makeTestWorld(mode, seed);
    const size = 96 * 1024 + 512;
    await world.create("luks", "image", size, { ...FAST, "cipher-alg": "aes-128" });
    let node = await openLuks(world);
    assert.is(node.size, size);
    const model = new Uint8Array(size);
    await world.run(write(node, model, 0));
    for (let step = 0; step < 120; step++) {
      const offset = chance.int(size);
      const length = Math.min(size - offset, 1 + chance.int(chance.chance(0.5) ? 700 : 20_000));
      const what = chance.int(10);
      if (what < 5) {
        const bytes = new Uint8Array(length).fill(1 + chance.int(255));
        model.set(bytes, offset);
        await world.run(write(node, bytes, offset));
      } else if (what < 6) {
        model.fill(0, offset, offset + length);
        await world.run(writeZeroes(node, offset, length));
      } else if (what < 9) {
        const found = new Uint8Array(length);
        await world.run(read(node, found, offset));
        assert.equal(found, model.subarray(offset, offset + length), `step ${step}: ${length} bytes at ${offset}`);
      } else {
        await world.run(flush(node));
        await world.close(node);
        node = await openLuks(world);
      }
    }
    const whole = new Uint8Array(size);
    await world.run(read(node, whole, 0));
    assert.equal(whole, model);
    await world.close(node);
    // What is on the medium is not what the guest wrote.
    const bytes = world.bytes("image");
    assert.is(bytes.length, 4096 + 8 * 131072 + size);
    assert.not.equal(bytes.subarray(bytes.length - size), model);
  });
}

const SETTINGS: Readonly<Record<string, unknown>>[] = [
  {},
  { "cipher-alg": "aes-192" },
  { "cipher-alg": "aes-192", "cipher-mode": "cbc" },
  { "cipher-alg": "serpent-256", "hash-alg": "sha512" },
  { "cipher-alg": "twofish-128", "cipher-mode": "cbc", "ivgen-alg": "essiv" },
  { "cipher-alg": "aes-256", "cipher-mode": "cbc", "ivgen-alg": "essiv", "ivgen-hash-alg": "sha256", "hash-alg": "sha1" },
  { "cipher-alg": "aes-256", "cipher-mode": "ctr", "ivgen-alg": "plain", "hash-alg": "ripemd160" },
  { "cipher-mode": "ecb" },
];
for (const settings of SETTINGS) {
  test(`${JSON.stringify(settings)} is made, probed and opened`, async () => {
    const world = makeTestWorld();
    await world.create("luks", "image", 8192, { ...FAST, ...settings });
    assert.is(bestDriver(world.environment.drivers, world.bytes("image").subarray(0, 2048), "").name, "luks");
    const node = await openLuks(world);
    const bytes = new Uint8Array(8192).map((_, i) => i * 7);
    await world.run(write(node, bytes, 0));
    const info = await world.run(imageInfo(node));
    assert.is(info.encrypted, true);
    const data = info["format-specific"]!.data as { "cipher-alg": string; "hash-alg": string };
    assert.is(data["cipher-alg"], settings["cipher-alg"] ?? "aes-256");
    assert.is(data["hash-alg"], settings["hash-alg"] ?? "sha256");
    await world.close(node);
    const again = await openLuks(world);
    const found = new Uint8Array(8192);
    await world.run(read(again, found, 0));
    assert.equal(found, bytes);
    await world.close(again);
  });
}

test("resizing moves the end of the payload", async () => {
  const world = makeTestWorld();
  await world.create("luks", "image", 8192, FAST);
  const node = await openLuks(world);
  await world.run(write(node, new Uint8Array(8192).fill(5), 0));
  await world.run(truncate(node, 20_480, { preallocation: "off" }));
  assert.is(node.size, 20_480);
  await world.run(write(node, new Uint8Array(512).fill(6), 20_480 - 512));
  await world.run(truncate(node, 4096, { preallocation: "off" }));
  assert.is(node.size, 4096);
  const found = new Uint8Array(4096);
  await world.run(read(node, found, 0));
  assert.equal(found, new Uint8Array(4096).fill(5));
  await world.close(node);
});

test("passphrases end at a NUL, as QEMU's do", async () => {
  const world = makeTestWorld();
  await world.create("luks", "image", 512, { ...FAST, "key-secret": "binary" });
  await world.close(await openLuks(world, { "key-secret": "binary-short" }));
});

test("wrong options are refused with QEMU's words, and nothing is written", async () => {
  const world = makeTestWorld();
  const create = (options: Record<string, unknown>): Promise<void> => world.create("luks", "image", 1024, options);
  await refused(create({}), "Parameter 'key-secret' is required for cipher");
  await refused(create({ "key-secret": "nobody" }), "No secret with id 'nobody'");
  await refused(create({ ...FAST, "cipher-alg": "rot13" }), "Parameter 'cipher-alg' does not accept value 'rot13'");
  await refused(create({ ...FAST, "cipher-alg": "3des" }), "Algorithm '3des' not supported");
  await refused(create({ ...FAST, "ivgen-alg": "essiv", "ivgen-hash-alg": "sha1" }), "No AES cipher with key size 20 available");
  await refused(create({ ...KEY, "iter-time": 0 }), /iter-time/);
  await refused(create({ ...KEY, "iter-time": 4e9 }), /PBKDF iterations \d+ larger than 10000000/);
  await refused(create({ ...FAST, preallocation: "sometimes" }), "invalid parameter value: sometimes");
});

// ---- key slots ----------------------------------------------------------------------------------------------------

async function amend(world: World, node: Node, options: Record<string, unknown>, force = false): Promise<void> {
  const { impl } = node;
  if (impl.shape !== "mapped") throw new Error("no format");
  await world.run(impl.amend!(options, () => {}, force));
}
async function opens(world: World, secret: string, prefix: "" | "encrypt."): Promise<boolean> {
  try {
    await world.close(
      await world.open(
        prefix === "" ? "luks" : "qcow2",
        "image",
        {},
        prefix === "" ? { "key-secret": secret } : { encrypt: { "key-secret": secret } },
      ),
    );
    return true;
  } catch (error) {
    assert.is((error as Error).message, "Invalid password, cannot unlock any keyslot");
    return false;
  }
}
const states = async (world: World, node: Node): Promise<string> => {
  const data = (await world.run(imageInfo(node)))["format-specific"]!.data;
  const slots = ((data["encrypt"] as Record<string, unknown> | undefined) ?? data)["slots"] as { active: boolean }[];
  return slots.map((slot) => (slot.active ? "A" : ".")).join("");
};

for (const prefix of ["", "encrypt."] as const) {
  test(`key slots are added and erased (${prefix === "" ? "luks" : "qcow2"})`, async () => {
    const world = makeTestWorld();
    const of = (options: Record<string, unknown>): Record<string, unknown> =>
      Object.fromEntries(Object.entries(options).map(([name, value]) => [prefix + name, value]));
    if (prefix === "") await world.create("luks", "image", 4096, FAST);
    else await world.create("qcow2", "image", 4096, { "encrypt.format": "luks", ...of(FAST) });
    const node = await world.open(
      prefix === "" ? "luks" : "qcow2",
      "image",
      { write: true },
      prefix === "" ? KEY : { encrypt: KEY },
    );
    await world.run(write(node, new Uint8Array(4096).fill(9), 0));
    const change = (options: Record<string, unknown>, force = false): Promise<void> => amend(world, node, of(options), force);
    assert.is(await states(world, node), "A.......");
    await refused(change({ "iter-time": 1 }), "Parameter 'state' is missing");
    await refused(change({ state: "active" }), "'new-secret' is required to activate a keyslot");
    await refused(
      change({ state: "active", "new-secret": "second", "old-secret": "first" }),
      "'old-secret' must not be given when activating keyslots",
    );
    await refused(
      change({ state: "active", "new-secret": "second", keyslot: 8 }),
      "Invalid keyslot 8 specified, must be between 0 and 7",
    );
    await refused(
      change({ state: "active", "new-secret": "second", keyslot: 0 }),
      "Refusing to overwrite active keyslot 0 - please erase it first",
    );
    await refused(
      change({ state: "inactive" }),
      "To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given",
    );
    await refused(
      change({ state: "inactive", keyslot: 0 }),
      /^Attempt to erase the only active keyslot 0 which will erase all the data/,
    );
    await refused(change({ state: "inactive", "old-secret": "first" }), /^All the active keyslots match the \(old\) password/);
    await refused(
      change({ state: "inactive", "old-secret": "third" }),
      "No keyslots match given (old) password for erase operation",
    );
    assert.is(await states(world, node), "A.......");
    await change({ state: "active", "new-secret": "second", "iter-time": 1 });
    await change({ state: "active", "new-secret": "third", keyslot: 5, "iter-time": 1 });
    assert.is(await states(world, node), "AA...A..");
    assert.ok(await opens(world, "first", prefix));
    assert.ok(await opens(world, "second", prefix));
    assert.ok(await opens(world, "third", prefix));
    await refused(change({ state: "inactive", keyslot: 3 }), "Given keyslot 3 is already erased (inactive) ");
    await refused(
      change({ state: "inactive", keyslot: 5, "old-secret": "first" }),
      "Given keyslot 5 doesn't contain the given old password for erase operation",
    );
    await change({ state: "inactive", "old-secret": "second" });
    await change({ state: "inactive", keyslot: 0 });
    assert.is(await states(world, node), ".....A..");
    assert.not(await opens(world, "first", prefix));
    assert.not(await opens(world, "second", prefix));
    assert.ok(await opens(world, "third", prefix));
    await world.close(node);
    const again = await world.open(
      prefix === "" ? "luks" : "qcow2",
      "image",
      {},
      prefix === "" ? { "key-secret": "third" } : { encrypt: { "key-secret": "third" } },
    );
    const found = new Uint8Array(4096);
    await world.run(read(again, found, 0));
    assert.equal(found, new Uint8Array(4096).fill(9));
    await world.close(again);
  });
}

// ---- damage -------------------------------------------------------------------------------------------------------

test("any damaged header byte: an error or an image, never anything else", async () => {
  const seed = chooseSeed();
  const chance = random(seed);
  console.log(`seed ${seed}`);
  const made = makeTestWorld();
  await made.create("luks", "image", 1024, FAST);
  const sound = made.bytes("image");
  for (let round = 0; round < 400; round++) {
    const bytes = sound.slice(0, chance.chance(0.1) ? chance.int(sound.length) : sound.length);
    for (let hits = 1 + chance.int(3); hits > 0; hits--)
      bytes[Math.min(bytes.length - 1, chance.int(592))] = chance.chance(0.5) ? 255 : chance.int(256);
    const world = makeTestWorld();
    world.files.set("image", memoryStorage(bytes, { name: "image" }));
    try {
      const node = await world.open("luks", "image", { noIO: true });
      assert.ok(node.size <= bytes.length);
      await world.run(imageInfo(node));
      await world.close(node);
    } catch (error) {
      assert.instance(error, BlockError);
    }
  }
});

test("too many iterations are refused, not computed", async () => {
  const world = makeTestWorld();
  await world.create("luks", "image", 1024, FAST);
  const bytes = world.bytes("image");
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(208 + 4, 0xffffffff);
  world.files.set("image", memoryStorage(bytes, { name: "image" }));
  await refused(openLuks(world), "Keyslot 0 asks for 4294967295 PBKDF2 iterations; at most 10000000 are allowed");
});

test.run();
