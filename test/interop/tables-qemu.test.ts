// time-limit: 240 s
/** LUKS, encrypted qcow2, qed and qcow images with the real qemu-img and qemu-io, in both directions. */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BlockdevOptions, Environment } from "../../src/block/context.js";
import { createImage } from "../../src/block/create.js";
import { flush, read, write, writeZeroes } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import { openNode } from "../../src/block/open.js";
import { done, runSync, type Op } from "../../src/block/op.js";
import { luks } from "../../src/formats/luks/luks.js";
import { qcow } from "../../src/formats/qcow/qcow.js";
import { qed } from "../../src/formats/qed/qed.js";
import { imageInfo } from "../../src/image/info.js";
import { nodeEnvironment } from "../../src/platform/node-environment.js";
import { hasQemu, optionText, qemu, type Options } from "../support/qemu.js";
import { chooseSeed, random, type Random } from "../support/random.js";
import { skip } from "../support/skip.js";
import { tempPath } from "../support/temp.js";

const KiB = 1024;
const MiB = KiB * KiB;
const SECRETS: Record<string, string> = { s0: "open sesame", s1: "another one" };
const OBJECTS = Object.entries(SECRETS).flatMap(([id, data]) => ["--object", `secret,id=${id},data=${data}`]);
const seed = chooseSeed();
const environment: Environment = nodeEnvironment({
  faces: "sync",
  formats: [luks, qed, qcow],
  gate: () => done(true),
  secrets: (id) => done(SECRETS[id] === undefined ? null : new TextEncoder().encode(SECRETS[id])),
});
const go = <T>(op: Op<T>): T => runSync(op);

interface Kind {
  title: string;
  driver: string;
  options: Options;
  /** Runtime options, as QEMU's dotted keys and as ours. */
  keys: string;
  open: BlockdevOptions;
  check: boolean;
  compress?: boolean;
}
const volume = (options: Record<string, string | number>): Kind => ({
  title: `luks ${JSON.stringify(options)}`,
  driver: "luks",
  options: { "key-secret": "s0", "iter-time": 10, ...options },
  keys: ",key-secret=s0",
  open: { "key-secret": "s0" },
  check: false,
});
const inside = (options: Record<string, string | number>): Kind => ({
  title: `qcow2 with luks ${JSON.stringify(options)}`,
  driver: "qcow2",
  options: { "encrypt.format": "luks", "encrypt.key-secret": "s0", "encrypt.iter-time": 10, ...options },
  keys: ",encrypt.key-secret=s0",
  open: { encrypt: { "key-secret": "s0" } },
  check: true,
});
const legacy = (driver: string): Kind => ({
  title: `${driver} with aes`,
  driver,
  options: { "encrypt.format": "aes", "encrypt.key-secret": "s0" },
  keys: ",encrypt.key-secret=s0",
  open: { encrypt: { "key-secret": "s0" } },
  check: driver === "qcow2",
});
const plain = (driver: string, options: Record<string, string | number>, more: Partial<Kind> = {}): Kind => ({
  title: `${driver} ${JSON.stringify(options)}`,
  driver,
  options,
  keys: "",
  open: {},
  check: driver === "qed",
  ...more,
});
const kinds: Kind[] = [
  volume({}),
  volume({ "cipher-alg": "aes-192", "ivgen-alg": "plain" }),
  volume({ "cipher-alg": "aes-128", "cipher-mode": "cbc", "ivgen-alg": "essiv", "hash-alg": "sha1" }),
  volume({ "cipher-alg": "serpent-256", "hash-alg": "sha512" }),
  volume({ "cipher-alg": "twofish-256", "hash-alg": "ripemd160" }),
  volume({ "cipher-alg": "aes-256", "cipher-mode": "ctr" }),
  inside({}),
  inside({ cluster_size: 4096, "encrypt.cipher-alg": "twofish-128" }),
  legacy("qcow2"),
  legacy("qcow"),
  plain("qed", {}),
  plain("qed", { cluster_size: 4096, table_size: 2 }),
  plain("qcow", {}, { compress: true }),
];

const opts = (kind: Kind, path: string): string[] => ["--image-opts", `driver=${kind.driver}${kind.keys},file.filename=${path}`];
const openOurs = (kind: Kind, filename: string, writable: boolean): Node =>
  go(openNode(environment, { driver: kind.driver, filename, options: kind.open, flags: { write: writable, unmap: writable } }));
const createOurs = (kind: Kind, filename: string, size: number, more: Kind["options"] = {}): void =>
  go(
    createImage(environment, {
      driver: environment.drivers.get(kind.driver)!,
      filename,
      size,
      options: { ...kind.options, ...more },
    }),
  );
const createTheirs = (kind: Kind, path: string, size: number): void =>
  void qemu("qemu-img", "create", "-q", ...OBJECTS, "-f", kind.driver, ...optionText(kind.options), path, String(size));

/** Their reading of an image is the model; their check finds nothing. */
function judge(kind: Kind, path: string, model: Uint8Array): void {
  const expected = tempPath("model.raw");
  writeFileSync(expected, model);
  if (kind.check) qemu("qemu-img", "check", "-q", ...OBJECTS, ...opts(kind, path));
  qemu(
    "qemu-img",
    "compare",
    "-q",
    ...OBJECTS,
    "--image-opts",
    `driver=${kind.driver}${kind.keys},file.filename=${path}`,
    `driver=raw,file.filename=${expected}`,
  );
  rmSync(expected);
}

function randomChange(chance: Random, size: number): { offset: number; length: number; value: number } {
  const length = 1 + chance.int(chance.pick([600, 9000, 200_000]));
  return { offset: chance.int(size - length), length, value: chance.int(256) };
}

for (const [index, kind] of kinds.entries()) {
  test(`${kind.title}: ours, read by QEMU`, () => {
    if (!hasQemu) return skip("qemu-img is not installed");
    const chance = random(seed + index);
    console.log(`seed ${seed + index}`);
    const path = tempPath(`ours.${kind.driver}`);
    const size = 3 * MiB + 512 * 7;
    createOurs(kind, path, size);
    const model = new Uint8Array(size);
    let node = openOurs(kind, path, true);
    if (kind.driver === "luks") go(write(node, model, 0));
    for (let step = 0; step < 25; step++) {
      const { offset, length, value } = randomChange(chance, size);
      model.fill(value, offset, offset + length);
      if (value % 5 === 0) {
        model.fill(0, offset, offset + length);
        go(writeZeroes(node, offset, length));
      } else {
        go(write(node, new Uint8Array(length).fill(value), offset));
      }
      if (step === 12) {
        go(node.unref());
        judge(kind, path, model);
        node = openOurs(kind, path, true);
      } else if (chance.chance(0.2)) go(flush(node));
    }
    if (kind.compress === true) {
      for (const offset of [0, 40 * 4096, 41 * 4096]) {
        const bytes = new Uint8Array(4096).fill(offset & 0x7f, 1000);
        model.set(bytes, offset);
        go(write(node, bytes, offset, { compressed: true }));
      }
    }
    const info = go(imageInfo(node));
    go(node.unref());
    judge(kind, path, model);
    const theirs = JSON.parse(qemu("qemu-img", "info", "--output=json", path)) as Record<string, unknown>;
    for (const name of ["format", "virtual-size", "cluster-size", "encrypted", "format-specific"]) {
      assert.equal((info as unknown as Record<string, unknown>)[name], theirs[name], name);
    }
  });

  test(`${kind.title}: QEMU's, read and written by us`, () => {
    if (!hasQemu) return skip("qemu-img is not installed");
    const chance = random(seed + index);
    const path = tempPath(`theirs.${kind.driver}`);
    const size = 2 * MiB + 512;
    createTheirs(kind, path, size);
    const model = new Uint8Array(size);
    const commands: string[] = kind.driver === "luks" ? ["-c", `write -P 0 0 ${size}`] : [];
    for (let step = 0; step < 12; step++) {
      const { offset, length, value } = randomChange(chance, size);
      model.fill(value, offset, offset + length);
      commands.push("-c", `write -P ${value} ${offset} ${length}`);
    }
    qemu("qemu-io", ...OBJECTS, ...commands, ...opts(kind, path));
    const node = openOurs(kind, path, true);
    const found = new Uint8Array(size);
    go(read(node, found, 0));
    assert.equal(found, model);
    for (let step = 0; step < 12; step++) {
      const { offset, length, value } = randomChange(chance, size);
      model.fill(value, offset, offset + length);
      go(write(node, new Uint8Array(length).fill(value), offset));
    }
    go(node.unref());
    judge(kind, path, model);
  });
}

for (const driver of ["qed", "qcow"]) {
  test(`${driver}: files are laid out as qemu-img makes them`, () => {
    if (!hasQemu) return skip("qemu-img is not installed");
    const base = tempPath("base.raw");
    writeFileSync(base, new Uint8Array(64 * KiB));
    for (const [size, backed] of [
      [10_240, false],
      [300 * MiB, false],
      [64 * KiB, true],
    ] as const) {
      const ours = tempPath(`ours.${driver}`);
      const theirs = tempPath(`theirs.${driver}`);
      createOurs(plain(driver, {}), ours, size, backed ? { backing_file: base, backing_fmt: "raw" } : {});
      qemu("qemu-img", "create", "-q", "-f", driver, ...(backed ? ["-b", base, "-F", "raw"] : []), theirs, String(size));
      assert.ok(readFileSync(ours).equals(readFileSync(theirs)), `${size} ${String(backed)}`);
    }
  });

  test(`${driver}: overlays of each other's images`, () => {
    if (!hasQemu) return skip("qemu-img is not installed");
    const base = tempPath("base.raw");
    const model = new Uint8Array(1 * MiB);
    for (let i = 0; i < model.length; i++) model[i] = i * 7;
    writeFileSync(base, model);
    const path = tempPath(`overlay.${driver}`);
    createOurs(plain(driver, {}), path, model.length, { backing_file: base, backing_fmt: "raw" });
    qemu("qemu-io", "-c", "write -P 3 1000 5000", "-c", "write -P 4 700000 512", path);
    model.fill(3, 1000, 6000);
    model.fill(4, 700_000, 700_512);
    const node = openOurs(plain(driver, {}), path, true);
    go(write(node, new Uint8Array(3000).fill(5), 500_001));
    model.fill(5, 500_001, 503_001);
    go(node.unref());
    judge(plain(driver, {}), path, model);
  });
}

test("key slots: ours opened by QEMU, QEMU's opened by us", () => {
  if (!hasQemu) return skip("qemu-img is not installed");
  const [first] = kinds;
  const path = tempPath("slots.luks");
  createOurs(first!, path, 64 * KiB);
  const second: Kind = { ...first!, keys: ",key-secret=s1", open: { "key-secret": "s1" } };
  const node = openOurs(first!, path, true);
  go(write(node, new Uint8Array(64 * KiB).fill(1), 0));
  const { impl } = node;
  if (impl.shape === "mapped") go(impl.amend!({ state: "active", "new-secret": "s1", "iter-time": 10 }, () => {}, false));
  go(node.unref());
  judge(second, path, new Uint8Array(64 * KiB).fill(1));
  qemu(
    "qemu-img",
    "amend",
    ...OBJECTS,
    "--image-opts",
    "-o",
    "state=inactive,keyslot=0",
    `driver=luks,key-secret=s1,file.filename=${path}`,
  );
  assert.throws(() => openOurs(first!, path, false), /Invalid password, cannot unlock any keyslot/);
  go(openOurs(second, path, false).unref());
  qemu(
    "qemu-img",
    "amend",
    ...OBJECTS,
    "--image-opts",
    "-o",
    "state=active,new-secret=s0,keyslot=4,iter-time=10",
    `driver=luks,key-secret=s1,file.filename=${path}`,
  );
  go(openOurs(first!, path, false).unref());
  assert.ok(existsSync(path));
});

test.run();
