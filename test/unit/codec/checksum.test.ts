import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodeText } from "../../../src/base/bytes.js";
import { crc32 } from "../../../src/codec/checksum/crc32.js";
import { crc32c } from "../../../src/codec/checksum/crc32c.js";
import { guidFromText, guidToText, randomGuid, randomUuid, uuidFromText, uuidToText } from "../../../src/codec/guid.js";
import { sample } from "./sample.js";

const check = encodeText("123456789");

test("check values", () => {
  assert.is(crc32(check), 0xcbf43926);
  assert.is(crc32c(check), 0xe3069283);
  assert.is(crc32(new Uint8Array(0)), 0);
  assert.is(crc32c(new Uint8Array(32)), 0x8a9136aa, "RFC 3720, 32 zero bytes");
  assert.is(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43, "RFC 3720, 32 bytes of ones");
});

test("in pieces as in one", () => {
  const bytes = sample(100003, 7);
  for (const sum of [crc32, crc32c]) {
    const whole = sum(bytes);
    for (const cut of [1, 7, 8, 5552, 99999]) assert.is(sum(bytes.subarray(cut), sum(bytes.subarray(0, cut))), whole);
  }
});

test("GUID byte orders", () => {
  const text = "2dc27766-f623-4200-9d64-115e9bfd4a08"; // VHDX: the BAT region
  assert.is(guidToText(guidFromText(text)), text);
  assert.equal(guidFromText(text).subarray(0, 8), Uint8Array.of(0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42));
  assert.is(uuidToText(uuidFromText(`{${text.toUpperCase()}}`)), text);
  for (const wrong of ["", "x", `${text}0`, text.replace("-", ""), text.replace("2", "g")])
    assert.throws(() => uuidFromText(wrong), /not a UUID/);
});

test("random UUIDs are version 4 and differ", () => {
  for (let i = 0; i < 20; i++) {
    assert.match(uuidToText(randomUuid()), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.match(guidToText(randomGuid()), /-4[0-9a-f]{3}-[89ab]/);
  }
  assert.not.equal(randomUuid(), randomUuid());
});

test.run();
