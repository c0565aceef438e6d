// time-limit: 150 s
/**
 * Images that travel between Blockcore and the real QEMU programs: each writes, the other must read the same bytes and find the image
 * clean, in turns on one image. SEED=n repeats a run.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import { createImage } from "../../src/block/create.js";
import { discard, readBytes, write, writeZeroes } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import { openNode } from "../../src/block/open.js";
import { runAsync, runSync, type Op } from "../../src/block/op.js";
import { allowAll, nodeEnvironment } from "../../src/platform/node-environment.js";
import { assertBytes } from "../conformance/driver-suite.js";
import { between, weighted } from "../support/choices.js";
import { chooseSeed, random, type Random } from "../support/random.js";
import { hasQemu } from "../support/qemu.js";
import { skip } from "../support/skip.js";
import { tempPath } from "../support/temp.js";

interface Variant {
  format: "raw" | "qcow2";
  size: number;
  options: Readonly<Record<string, string | number | boolean>>;
  /** Bytes; what discards and compressed writes count in. */
  cluster: number;
  backing?: boolean;
}

const MiB = 1024 * 1024;
const q = (size: number, cluster: number, options: Variant["options"] = {}, backing = false): Variant => ({
  format: "qcow2",
  size,
  cluster,
  backing,
  options: cluster === 65536 ? options : { cluster_size: cluster, ...options },
});
const variants: readonly Variant[] = [
  { format: "raw", size: 3 * MiB, options: {}, cluster: 1 },
  q(4 * MiB, 65536),
  q(4 * MiB + 512, 65536, { compat: "0.10" }),
  q(MiB, 512),
  q(3 * MiB, 4096, { refcount_bits: 1 }),
  q(3 * MiB, 4096, { refcount_bits: 64, lazy_refcounts: true }),
  q(9 * MiB, 2097152),
  q(4 * MiB, 65536, { extended_l2: true }),
  q(2 * MiB, 16384, { extended_l2: true }, true),
  q(2 * MiB, 65536, { preallocation: "metadata" }),
  q(2 * MiB, 65536, { compression_type: "zstd" }),
  q(3 * MiB, 65536, {}, true),
  q(3 * MiB, 65536, { compat: "0.10" }, true),
  q(2 * MiB, 65536, { data_file: "image.data" }),
];

const environment = nodeEnvironment({ gate: allowAll, faces: "sync" });
const environmentAsync = nodeEnvironment({ gate: allowAll });

/** Preallocated clusters are taken already; data files and raw hold no compressed ones. */
const cannotCompress = ({ format, options }: Variant): boolean =>
  format === "raw" || options["data_file"] !== undefined || options["preallocation"] !== undefined;

/** A change both sides can make. */
type Change =
  | { kind: "write"; offset: number; length: number; value: number }
  | { kind: "zeroes"; offset: number; length: number; unmap: boolean }
  | { kind: "discard"; offset: number; length: number }
  | { kind: "compressed"; offset: number; length: number; value: number };

class RoundTrip {
  readonly #random: Random;
  readonly #variant: Variant;
  readonly #folder: string;
  readonly #model: Uint8Array;
  /** Clusters that were ever written: the real program refuses to write compressed ones there. */
  readonly #touched = new Set<number>();

  constructor(random: Random, variant: Variant) {
    this.#random = random;
    this.#variant = variant;
    this.#folder = tempPath("round-trip");
    this.#model = new Uint8Array(variant.size);
    mkdirSync(this.#folder);
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }
  #real(program: string, ...args: string[]): string {
    try {
      return execFileSync(program, args, { cwd: this.#folder, encoding: "utf8", stdio: "pipe" });
    } catch (error) {
      const { stdout, stderr } = error as { stdout: string; stderr: string };
      throw new Error(`${program} ${args.join(" ")}\n${stdout}${stderr}`, { cause: error });
    }
  }

  async run(createdBy: "ours" | "real"): Promise<void> {
    await this.#create(createdBy);
    for (let round = 0; round < 4; round++) {
      const changes = Array.from({ length: between(this.#random, 3, 9) }, () => this.#change());
      if ((round % 2 === 0) === (createdBy === "ours")) await this.#writeOurs(changes, round < 2);
      else this.#writeReal(changes);
      await this.#compare(`round ${round}`);
    }
  }

  async #create(by: "ours" | "real"): Promise<void> {
    const { format, size, options, backing } = this.#variant;
    const all: Record<string, unknown> = { ...options };
    if (backing) {
      const base = this.#random.bytes(2 * MiB);
      writeFileSync(this.#path("base"), base);
      this.#model.set(base.subarray(0, size));
      Object.assign(all, { backing_file: "base", backing_fmt: "raw" });
    }
    if (by === "ours") {
      if (all["data_file"] !== undefined) all["data_file"] = "image.data";
      process.chdir(this.#folder);
      runSync(createImage(environment, { driver: environment.drivers.get(format)!, filename: "image", size, options: all }));
    } else {
      const list = Object.entries(all).map(([name, value]) => `${name}=${value === true ? "on" : String(value)}`);
      this.#real(
        "qemu-img",
        "create",
        "-q",
        "-f",
        format,
        ...(list.length > 0 ? ["-o", list.join(",")] : []),
        "image",
        String(size),
      );
    }
  }

  #change(): Change {
    const change = this.#draw();
    const { cluster, format } = this.#variant;
    if (format === "raw") return change;
    for (let at = Math.floor(change.offset / cluster) * cluster; at < change.offset + change.length; at += cluster)
      this.#touched.add(at);
    return change;
  }

  #draw(): Change {
    const random = this.#random;
    const { size, cluster } = this.#variant;
    const length = 1 + random.int(Math.min(size, random.pick([600, 5000, 3 * Math.max(cluster, 512), 200_000])));
    const offset = random.int(size - length + 1);
    const value = between(random, 1, 255);
    const kind = weighted(random, { write: 6, zeroes: 2, discard: 2, compressed: 2 });
    switch (kind) {
      case "write":
        return { kind, offset, length, value };
      case "zeroes":
        return { kind, offset, length, unmap: random.chance(0.5) };
      case "discard":
        return { kind, offset, length };
      case "compressed": {
        const at = Math.floor(offset / cluster) * cluster;
        if (cannotCompress(this.#variant) || this.#touched.has(at)) return { kind: "write", offset, length, value };
        return { kind, offset: at, length: Math.min(cluster, size - at), value };
      }
    }
  }

  #apply(change: Change): void {
    const { offset, length } = change;
    const { cluster, format, options, size } = this.#variant;
    const model = this.#model;
    if (change.kind === "write" || change.kind === "compressed") model.fill(change.value, offset, offset + length);
    else if (change.kind === "zeroes") model.fill(0, offset, offset + length);
    else if (format === "qcow2" && options["compat"] === "0.10" && this.#variant.backing === true) return;
    else {
      const from = Math.ceil(offset / cluster) * cluster;
      const to = offset + length === size ? size : Math.floor((offset + length) / cluster) * cluster;
      model.fill(0, from, Math.max(from, to));
    }
  }

  async #writeOurs(changes: readonly Change[], sync: boolean): Promise<void> {
    const run = async <T>(op: Op<T>): Promise<T> => (sync ? runSync(op) : await runAsync(op));
    process.chdir(this.#folder);
    const node: Node = await run(
      openNode(sync ? environment : environmentAsync, {
        filename: "image",
        driver: this.#variant.format,
        flags: { write: true, unmap: true },
      }),
    );
    try {
      for (const change of changes) {
        const { offset, length } = change;
        if (change.kind === "zeroes") await run(writeZeroes(node, offset, length, { mayUnmap: change.unmap }));
        else if (change.kind === "discard") await run(discard(node, offset, length));
        else
          await run(write(node, new Uint8Array(length).fill(change.value), offset, { compressed: change.kind === "compressed" }));
        this.#apply(change);
      }
    } finally {
      await run(node.unref());
    }
  }

  /**
   * QEMU 7.2 damages an image when, in one process, a compressed cluster is overwritten and another one is written compressed after it
   * (qemu-img check then finds a refcount of 2): compressed writes that others overlap are left out, the rest come last.
   */
  #harmless(changes: readonly Change[]): Change[] {
    const { cluster } = this.#variant;
    const alone = (one: Change): boolean =>
      changes.every(
        (other) => other === one || other.offset >= one.offset + cluster || other.offset + other.length <= one.offset,
      );
    return [
      ...changes.filter(({ kind }) => kind !== "compressed"),
      ...changes.filter((change) => change.kind === "compressed" && alone(change)),
    ];
  }

  #writeReal(planned: readonly Change[]): void {
    const changes = this.#harmless(planned);
    const commands = changes.flatMap((change) => {
      const range = `${change.offset} ${change.length}`;
      switch (change.kind) {
        case "write":
          return ["-c", `write -q -P ${change.value} ${range}`];
        case "compressed":
          return ["-c", `write -q -c -P ${change.value} ${range}`];
        case "zeroes":
          return ["-c", `write -q -z ${change.unmap ? "-u " : ""}${range}`];
        case "discard":
          return ["-c", `discard -q ${range}`];
      }
    });
    const said = this.#real("qemu-io", "-f", this.#variant.format, "-t", "writeback", "-d", "unmap", ...commands, "image");
    if (said !== "") throw new Error(`qemu-io: ${said}${commands.join(" ")}`);
    for (const change of changes) this.#apply(change);
  }

  async #compare(when: string): Promise<void> {
    const { format } = this.#variant;
    process.chdir(this.#folder);
    const node = runSync(openNode(environment, { filename: "image", driver: format, flags: {} }));
    try {
      assertBytes(runSync(readBytes(node, 0, node.size)), this.#model, `${when}: read by us`);
    } finally {
      runSync(node.unref());
    }
    writeFileSync(this.#path("model"), this.#model);
    this.#real("qemu-img", "compare", "-q", "-f", format, "-F", "raw", "image", "model");
    if (format !== "raw") this.#real("qemu-img", "check", "-q", "-f", format, "image");
  }
}

if (!hasQemu) {
  test("round trips with QEMU", () => skip("qemu-io is not installed"));
} else {
  const seed = chooseSeed();
  const home = process.cwd();
  console.log(`SEED=${seed}`);
  variants.forEach((variant, i) => {
    for (const createdBy of ["ours", "real"] as const) {
      const name = `${variant.format} ${variant.size} ${JSON.stringify(variant.options)}${variant.backing ? " over a raw file" : ""}`;
      test(`${name}, created by ${createdBy === "ours" ? "us" : "QEMU"}`, async () => {
        try {
          for (let turn = 0; turn < 3; turn++) {
            const own = (seed + i * 1000 + turn * 10 + (createdBy === "ours" ? 0 : 1)) >>> 0;
            try {
              await new RoundTrip(random(own), variant).run(createdBy);
            } catch (error) {
              throw new Error(`seed ${own}: ${(error as Error).message}`, { cause: error });
            }
          }
        } finally {
          process.chdir(home);
        }
      });
    }
  });
}

test.run();
