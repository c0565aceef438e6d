/** The VMDK descriptor: what is read of it, and that hostile ones cost no more than others. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodeText } from "../../../../src/base/bytes.js";
import { BlockError } from "../../../../src/base/error.js";
import { fitCid, formatDescriptor, NO_CID, parseDescriptor, withContentId } from "../../../../src/formats/vmdk/descriptor.js";
import { vmdk } from "../../../../src/formats/vmdk/vmdk.js";

const parse = (text: string): ReturnType<typeof parseDescriptor> => parseDescriptor(encodeText(text));

test("identities, type, parent and extents; line ends of either kind", () => {
  for (const end of ["\n", "\r\n"]) {
    const text = [
      "# Disk DescriptorFile",
      "version=1",
      'encoding="UTF-8"',
      "CID=fffffffe",
      "parentCID=3d51e1f5",
      'createType="custom"',
      'parentFileNameHint="dir/ba sé.vmdk"',
      "RW 63 ZERO",
      'RW 100 SPARSE "a s001.vmdk"',
      'RDONLY 7 FLAT "b.raw" 12',
      'RW 8 VMFS "c-flat.vmdk"',
      'NOACCESS 5 SESPARSE "d.vmdk"',
      'ddb.adapterType = "ide"',
      "",
    ].join(end);
    const found = parse(text);
    assert.is(found.cid, 0xfffffffe);
    assert.is(found.parentCid, 0x3d51e1f5);
    assert.is(found.createType, "custom");
    assert.is(found.parentFileName, "dir/ba sé.vmdk");
    assert.equal(found.extents, [
      { access: "RW", sectors: 63, type: "ZERO", filename: "", offset: 0 },
      { access: "RW", sectors: 100, type: "SPARSE", filename: "a s001.vmdk", offset: 0 },
      { access: "RDONLY", sectors: 7, type: "FLAT", filename: "b.raw", offset: 12 },
      { access: "RW", sectors: 8, type: "VMFS", filename: "c-flat.vmdk", offset: 0 },
      { access: "NOACCESS", sectors: 5, type: "SESPARSE", filename: "d.vmdk", offset: 0 },
    ]);
  }
});

test("what is after a NUL is not text; comments and unknown keys are skipped", () => {
  const found = parse('CID=1\nparentCID=ffffffff\n# CID=2\nfoo=bar\nRW 1 FLAT "x" 0\n\0RW 1 FLAT "y" 0\n');
  assert.is(found.extents.length, 1);
  assert.is(found.cid, 1);
  assert.is(found.parentCid, NO_CID);
});

test("lines that contradict themselves are errors in QEMU's words", () => {
  for (const line of ['RW 2 FLAT "f.raw" -1', 'RW 2 FLAT "f.raw"', 'RW 2 SPARSE "f.raw" 3', 'RW 2 VMFS "f.raw" 0']) {
    assert.throws(
      () => parse(`CID=1\nparentCID=2\n${line}\n`),
      (error: Error) => error.message === `Invalid extent line: ${line}`,
    );
  }
  assert.throws(() => parse('version=1\ncreateType="monolithicFlat"\n'), /no CID/);
  assert.throws(() => parse('CID=1\nparentFileNameHint="unterminated\n'), /parentFileNameHint/);
  assert.throws(() => parse(`CID=1\nparentFileNameHint="${"x".repeat(2000)}"\n`), /parentFileNameHint/);
});

test("a new CID is put in its place, and the rest stays; the length changes only where the old one is short", () => {
  const text = (cid: string): Uint8Array => encodeText(`# CID=9\nversion=1\nCID=${cid}\nparentCID=12345678\ncreateType="x"\n`);
  for (const [old, random, want, cid] of [
    ["abc", 0xdeadbeef, "deadbeef", 0xdeadbeef],
    ["12345678", 0xbeef, "0000beef", 0xbeef],
    ["1234567", 0xdeadbeef, "eadbeef", 0xeadbeef],
  ] as const) {
    const changed = withContentId(text(old), "CID", (digits) => fitCid(random, digits))!;
    assert.equal(changed.bytes, text(want));
    assert.is(changed.cid, cid);
    assert.is(parseDescriptor(changed.bytes).cid, cid);
  }
  assert.is(
    withContentId(encodeText("parentCID=1\n"), "CID", () => 5),
    null,
  );
});

test("what we format we read back", () => {
  const text = formatDescriptor({
    cid: 0x12,
    parentCid: 0x34,
    createType: "twoGbMaxExtentFlat",
    parentFileName: "p.vmdk",
    hardwareVersion: "4",
    adapterType: "lsilogic",
    toolsVersion: "1",
    size: 2 ** 31,
    extents: [
      { sectors: 5, type: "FLAT", filename: "a-f001.vmdk" },
      { sectors: 6, type: "SPARSE", filename: "a-s002.vmdk" },
    ],
  });
  const found = parse(text);
  assert.equal(
    [found.cid, found.parentCid, found.createType, found.parentFileName],
    [0x12, 0x34, "twoGbMaxExtentFlat", "p.vmdk"],
  );
  assert.equal(
    found.extents.map(({ type, sectors }) => [type, sectors]),
    [
      ["FLAT", 5],
      ["SPARSE", 6],
    ],
  );
  assert.match(text, 'ddb.geometry.heads = "255"');
  assert.is(vmdk.probe!(encodeText(text), ""), 100);
});

/** What `work` has regular expressions look at: characters in all, and the longest text at once. Strings' own methods use `exec`, too. */
function matching(work: () => void): { characters: number; longest: number } {
  const { exec } = RegExp.prototype;
  const seen = { characters: 0, longest: 0 };
  const counted = function (this: RegExp, text: string): RegExpExecArray | null {
    seen.characters += text.length;
    seen.longest = Math.max(seen.longest, text.length);
    return exec.call(this, text);
  };
  Object.assign(RegExp.prototype, { exec: counted });
  try {
    work();
  } finally {
    Object.assign(RegExp.prototype, { exec });
  }
  return seen;
}

test("the work of reading a descriptor grows with its length only, whatever is in it", () => {
  for (const line of [
    'RW 1 FLAT "x" 0\n',
    "RW 1 ",
    '""""',
    "=",
    " ",
    "CID=",
    "RW ",
    "\n",
    'a="b',
    `a=${" ".repeat(4000)}x\n`,
    `${" ".repeat(4000)}x\n`,
    `RW${" ".repeat(4000)}x\n`,
    `${"\r".repeat(4000)}x\n`,
  ]) {
    const bytes = encodeText(`CID=1\nparentCID=1\n${line.repeat(Math.floor(1_000_000 / line.length))}`);
    const { characters, longest } = matching(() => {
      try {
        parseDescriptor(bytes);
      } catch (error) {
        assert.instance(error, BlockError, String(error));
      }
    });
    // The end of the line, an extent, a key: three looks at each character, and at no more than a line that can mean something.
    assert.ok(characters > 0 && characters <= 3 * bytes.length, `${characters} characters`);
    assert.ok(longest <= 4096, `${longest} characters at once`);
  }
});

test("probing looks for the magic numbers, or for comments and a version", () => {
  const probe = (text: string): number => vmdk.probe!(encodeText(text), "");
  for (const text of [
    "KDMV....",
    "COWD",
    "# Disk DescriptorFile\nversion=1\n",
    "#x\n  \n # \n".slice(0, 6) + "version=3\r\n",
    "version=2\n",
  ])
    assert.is(probe(text), 100, text);
  for (const text of ["", "KDM", "version=4\n", "# only a comment", "x\nversion=1\n", "  x\nversion=1\n"])
    assert.is(probe(text), 0, text);
});

test.run();
