/** Opening what is not of the format that was named: the error keeps its words, the hint says what the file is. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../src/base/error.js";
import { allFormats } from "../../../src/platform/all-formats.js";
import { memoryStorage } from "../../../src/storage/memory.js";
import { makeWorld } from "../../support/world.js";

const text = (from: string): Uint8Array => Uint8Array.from(from, (letter) => letter.charCodeAt(0));

async function refusal(format: string, content: Uint8Array | "vmdk"): Promise<BlockError> {
  const world = makeWorld({ mode: "sync", drivers: allFormats });
  if (content === "vmdk") await world.create("vmdk", "image", 1 << 20);
  else {
    const bytes = new Uint8Array(4096);
    bytes.set(content);
    world.files.set("image", memoryStorage(bytes, { name: "image" }));
  }
  try {
    await world.close(await world.open(format, "image", {}));
  } catch (error) {
    assert.instance(error, BlockError);
    return error as BlockError;
  }
  throw new Error(`it opens as ${format}`);
}

const archive = new Uint8Array(512);
archive.set(text("ustar\0"), 257);

for (const [what, content, hint] of [
  ["another format", "vmdk", /looks like an image of format 'vmdk'/],
  ["gzip", Uint8Array.of(0x1f, 0x8b, 8), /packed with gzip: unpack/],
  ["zip", text("PK\x03\x04"), /packed with zip/],
  ["an archive", archive, /a tar archive; an OVA/],
  ["an encrypted DMG", text("encrcdsa"), /an encrypted Apple disk image/],
  ["a page", text("\r\n<!DOCTYPE html><html>"), /an HTML page/],
] as const) {
  test(`${what} instead of the format that was named`, async () => {
    for (const format of ["qcow2", "qed", "qcow", "vdi", "vpc", "vhdx", "parallels", "bochs", "dmg", "luks"]) {
      const error = await refusal(format, content);
      assert.match(error.hint ?? "", hint, `${format}: ${error.message}`);
      assert.not.match(error.message, hint);
    }
  });
}

test("nothing is guessed about bytes that nobody knows, nor about damaged images of the format itself", async () => {
  assert.is((await refusal("qcow2", text("nothing in particular"))).hint, undefined);
  assert.is((await refusal("qed", text("QED\0"))).hint, undefined);
});

test.run();
