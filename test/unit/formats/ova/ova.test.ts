/** OVA: tar archives read in place, OVF descriptors, and archives that we write. */
import { createHash } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { concatBytes, encodeText } from "../../../../src/base/bytes.js";
import { read, write } from "../../../../src/block/io.js";
import { storageNode } from "../../../../src/block/storage-node.js";
import { openOvaDisk, readOva } from "../../../../src/formats/ova/read.js";
import { formatOvf, parseOvf } from "../../../../src/formats/ova/ovf.js";
import { listTar, tarEnd, tarHeader, tarPadding } from "../../../../src/formats/ova/tar.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { vmdk } from "../../../../src/formats/vmdk/vmdk.js";
import { ImageReader } from "../../../../src/image/reader.js";
import { listOva, writeOva } from "../../../../src/library/ova.js";
import { memoryStorage, type MemoryStorage } from "../../../../src/storage/memory.js";
import { streamSink } from "../../../../src/storage/stream-sink.js";
import { random } from "../../../support/random.js";
import { makeWorld, type World } from "../../../support/world.js";
import { refusal } from "../../../support/refused.js";

const MiB = 1048576;
const world = (): World => makeWorld({ mode: "sync", drivers: [raw, vmdk] });

function archive(members: readonly (readonly [string, Uint8Array])[]): Uint8Array {
  return concatBytes([
    ...members.flatMap(([name, bytes]) => [tarHeader(name, bytes.length, 0), bytes, tarPadding(bytes.length)]),
    tarEnd(),
  ]);
}
const list = (bytes: Uint8Array): ReturnType<typeof listOva> => listOva(memoryStorage(bytes, { name: "x.ova" }));

async function diskImage(here: World, size: number): Promise<{ image: ImageReader; model: Uint8Array }> {
  const chance = random(7);
  const model = new Uint8Array(size);
  for (let i = 0; i < 3; i++) model.set(chance.bytes(70_000), chance.int(size - 70_000));
  await here.create("vmdk", "source.vmdk", size);
  const node = await here.open("vmdk", "source.vmdk");
  await here.run(write(node, model, 0));
  return { image: new ImageReader(node), model };
}

async function verify(here: World, bytes: Uint8Array, model: Uint8Array): Promise<void> {
  const contents = await list(bytes);
  assert.equal(
    contents.members.map(({ name }) => name),
    ["vm.ovf", "vm-disk1.vmdk", "vm.mf"],
  );
  assert.is(contents.disks.length, 1);
  const disk = contents.disks[0]!;
  assert.equal([disk.filename, disk.capacity], ["vm-disk1.vmdk", model.length]);
  // The disk is opened inside the archive.
  const file = await here.run(storageNode(here.environment, memoryStorage(bytes, { name: "vm.ova" })));
  const node = await here.run(openOvaDisk(here.environment, file, disk));
  const seen = new Uint8Array(model.length);
  await here.run(read(node, seen, 0));
  assert.is(Buffer.compare(seen, model), 0);
  await here.close(node);
  // The manifest tells the truth.
  const part = (name: string): Uint8Array => {
    const member = contents.members.find((one) => one.name === name)!;
    return bytes.subarray(member.offset, member.offset + member.size);
  };
  const sha256 = (name: string): string => createHash("sha256").update(part(name)).digest("hex");
  assert.is(
    new TextDecoder().decode(part("vm.mf")),
    `SHA256(vm.ovf)= ${sha256("vm.ovf")}\nSHA256(vm-disk1.vmdk)= ${sha256("vm-disk1.vmdk")}\n`,
  );
  assert.match(new TextDecoder().decode(part("vm.ovf")), `ovf:size="${disk.size}"`);
}

test("an OVA is written and read in place, on a medium that can be patched and on a stream", async () => {
  const here = world();
  const { image, model } = await diskImage(here, 5 * MiB + 512);
  const target: MemoryStorage = memoryStorage(0, { name: "vm.ova" });
  const phases: string[] = [];
  const result = await writeOva(image, target, { name: "vm", onProgress: ({ phase }) => phases.push(phase) });
  assert.ok(phases.includes("ova"));
  const bytes = target.toBytes();
  assert.is(bytes.length, result.bytes);
  await verify(here, bytes, model);

  const parts: Uint8Array[] = [];
  const sink = streamSink(new WritableStream<Uint8Array>({ write: (part) => void parts.push(part) }));
  const streamed = await writeOva(image, sink, { name: "vm", level: 9 });
  await sink.finish();
  const whole = concatBytes(parts);
  assert.is(whole.length, streamed.bytes);
  await verify(here, whole, model);
  await image.close();
});

test("it can be stopped", async () => {
  const here = world();
  const { image } = await diskImage(here, 5 * MiB);
  const controller = new AbortController();
  const target = memoryStorage(0, { name: "vm.ova" });
  assert.match(
    await refusal(writeOva(image, target, { name: "vm", signal: controller.signal, onProgress: () => controller.abort() })),
    /abort|cancel/i,
  );
  assert.match(await refusal(writeOva(image, memoryStorage(0, { name: "x" }), { name: "a/b" })), /cannot be the name/);
  await image.close();
});

test("descriptors: prefixes, units, entities, comments; disks without a file", () => {
  const disks = parseOvf(`<?xml version="1.0"?><Envelope xmlns:ovf="x"><References>
    <!-- <File ovf:href="no.vmdk" ovf:id="no"/> -->
    <File ovf:href='a &amp; b.vmdk' ovf:id="f1" ovf:compression="gzip" /><ovf:File ovf:id="f2" ovf:href="c.vmdk"></ovf:File></References>
    <DiskSection><Disk ovf:capacity="20" ovf:capacityAllocationUnits="byte * 2^30" ovf:diskId="d1" ovf:fileRef="f1" ovf:format="u"/>
    <ovf:Disk diskId="d2" capacity="512" fileRef="f2"/><Disk ovf:diskId="d3" ovf:capacity="1" ovf:capacityAllocationUnits="furlong"/></DiskSection></Envelope>`);
  assert.equal(disks, [
    { id: "d1", capacity: 20 * 2 ** 30, format: "u", href: "a & b.vmdk", compression: "gzip" },
    { id: "d2", capacity: 512, format: "", href: "c.vmdk", compression: "" },
    { id: "d3", capacity: null, format: "", href: null, compression: "" },
  ]);
  assert.throws(() => parseOvf("<x/>"), /no Envelope/);
  assert.throws(() => parseOvf('<Envelope><Disk ovf:fileRef="f" ovf:diskId="d"/></Envelope>'), /does not describe/);
  const back = parseOvf(
    formatOvf({
      name: 'A "b" & <c>',
      diskFile: "d'.vmdk",
      diskFileSize: 5,
      capacity: 4096,
      populated: null,
      cpus: 2,
      memoryMiB: 64,
    }),
  );
  assert.equal(
    back.map(({ href, capacity }) => [href, capacity]),
    [["d'.vmdk", 4096]],
  );
  const began = Date.now();
  for (const piece of ["<File ", '<Disk a="', "<!--", "<File ovf:id='", "&#1", "<Disk a", "a=", "<!-- --", " "]) {
    try {
      parseOvf(`<Envelope ${piece.repeat(Math.floor(4_000_000 / piece.length))}`);
    } catch (error) {
      assert.match((error as Error).message, /more than|no Envelope/);
    }
  }
  assert.ok(Date.now() - began < 5000, `${Date.now() - began} ms`);
});

test("archives: long names, large sizes, no descriptor, and damage", async () => {
  const ovf = (href: string): Uint8Array =>
    encodeText(
      formatOvf({ name: "n", diskFile: href, diskFileSize: null, capacity: 512, populated: null, cpus: 1, memoryMiB: 1 }),
    );
  assert.equal((await list(archive([["x.vmdk", new Uint8Array(700)]]))).disks, [
    { id: "x.vmdk", filename: "x.vmdk", offset: 512, size: 700, capacity: null },
  ]);
  assert.match(await refusal(list(archive([["x.txt", new Uint8Array(1)]]))), /is no OVA/);
  assert.match(await refusal(list(archive([["x.ovf", ovf("missing.vmdk")]]))), /'missing\.vmdk' of disk 'vmdisk1' is missing/);
  assert.equal((await list(archive([["x.ovf", ovf("http://example.org/d.vmdk")]]))).disks, []);
  assert.match(await refusal(list(encodeText("no tar at all".repeat(100)))), /no tar header/);
  const damaged = archive([
    ["x.ovf", ovf("a.vmdk")],
    ["a.vmdk", new Uint8Array(512)],
  ]);
  const at = 512 + Math.ceil(ovf("a.vmdk").length / 512) * 512;
  damaged[at + 5] = damaged[at + 5]! ^ 1;
  assert.match(await refusal(list(damaged)), /no tar header at offset/);
  // A member that claims more than there is.
  const claims = archive([["a.vmdk", new Uint8Array(512)]]);
  claims.set(tarHeader("a.vmdk", 2 ** 40, 0));
  assert.match(await refusal(list(claims)), /more than the file holds/);
  const pax = encodeText("30 path=a/long/name/of/x.vmdk\n");
  const extended = tarHeader("pax", pax.length, 0);
  extended[156] = "x".charCodeAt(0);
  let sum = 0;
  for (let i = 0; i < 512; i++) sum += i >= 148 && i < 156 ? 0x20 : extended[i]!;
  extended.set(encodeText(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
  const long = concatBytes([extended, pax, tarPadding(pax.length), archive([["short", new Uint8Array(10)]])]);
  assert.equal(
    (await list(long)).members.map(({ name }) => name),
    ["a/long/name/of/x.vmdk"],
  );
});

test("sizes of 8 GiB and more are written and read", async () => {
  const here = world();
  const size = 9 * 2 ** 30;
  const storage = memoryStorage(0, { name: "big.tar" });
  storage.sync.write(tarHeader("big.vmdk", size, 1_700_000_000), 0);
  storage.sync.truncate(512 + size + 1024);
  const members = await here.run(listTar(await here.run(storageNode(here.environment, storage))));
  assert.equal(members, [{ name: "big.vmdk", offset: 512, size }]);
  const contents = await here.run(readOva(await here.run(storageNode(here.environment, storage))));
  assert.is(contents.disks[0]!.size, size);
});

test.run();
