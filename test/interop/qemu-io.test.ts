/** Our qemu-io and the real one, side by side: the same command lines must print the same and end the same. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { cliEnvironment } from "../../src/cli/environment.js";
import { ioMain } from "../../src/cli/io/program.js";
import { skip } from "../support/skip.js";
import { tempPath } from "../support/temp.js";

interface Seen {
  stdout: string;
  stderr: string;
  status: number | null;
}

const home = process.cwd();
const folder = tempPath("qemu-io");

/** Rates and times differ from run to run. */
function steady(text: string): string {
  return text.replace(/\d+ ops; [^\n]*\)/g, "X ops").replace(/^(\d+,\d+),\d+:\d\d:\d\d\.\d\d,[\d.inf]+,[\d.inf]+$/gm, "$1,X");
}

function fresh(setup: readonly string[]): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const command of setup) execFileSync("qemu-img", command.split(" "), { cwd: folder, stdio: "pipe" });
}

async function ours(args: readonly string[], input: string): Promise<Seen> {
  process.chdir(folder);
  let stdout = "";
  let stderr = "";
  const lines = input === "" ? [] : input.replace(/\n$/, "").split("\n");
  const writeError = (text: string): void => void (stderr += text);
  try {
    const status = await ioMain(args, {
      name: "qemu-io",
      version: "test",
      output: { write: (text) => void (stdout += text), writeError, flush: () => {} },
      readLine: async () => lines.shift() ?? null,
      environment: (objects) => cliEnvironment({ objects, warn: (message) => writeError(`${message}\n`) }),
    });
    return { stdout: steady(stdout), stderr, status };
  } finally {
    process.chdir(home);
  }
}

function real(args: readonly string[], input: string): Seen {
  const { stdout, stderr, status } = spawnSync("qemu-io", args, { cwd: folder, encoding: "utf8", input });
  return { stdout: steady(stdout), stderr, status };
}

const QCOW2 = ["create -q -f qcow2 image 1M"];
const RAW = ["create -q -f raw image 1M"];
const commands = (...list: string[]): string[] => list.flatMap((command) => ["-c", command]);

/** What both formats answer alike. */
const both: Readonly<Record<string, readonly string[]>> = {
  "requests and numbers": [
    "write 0 64k",
    "write -P 0x1g 0 1k",
    "write -P 300 0 1k",
    "read -P 1 0 1k",
    "read 1m 1k",
    "read 0 2000x",
    "read 0 99999999999999999999",
    "read 0 9E",
    "read 0",
    "read a b",
    "length",
    "alloc 0 1m",
    "alloc 0",
    "map",
  ],
  options: [
    "write -b 0 513",
    "write -z -u 0 64k",
    "write -z -P 1 0 64k",
    "write -zb 0 512",
    "write -u 0 512",
    "read -v 10 20",
    "read -C 0 1k",
    "discard 0 64k",
    "writev 0 1k 2k",
    "readv -P 0xcd 0 3k",
    "read -x 0 1k",
    "write -n 0 1k",
    "write -zf 0 1k",
    "write -fc 0 64k",
    "write -bf 0 1k",
    "write -bn 0 1k",
    "write -c 3 1",
  ],
  "verification ranges": [
    "write 0 1k -P 1 -q",
    "read 0 1k -P 1",
    "read -P 2 -s 512 -l 1k 0 1k",
    "read -l 1 0 2",
    "read -P 1 -s 512 0 1k",
    "read -P 1 -l 600 -s 512 0 1k",
    "read -P 010 0 512",
    "read -P",
    "read -P 1 0",
    "read -P  0 512 3",
    "read -s x -P 1 0 512",
    "write -l 1 0 1",
  ],
  "requests that are too long": [
    "write 0 3G",
    "read 0 3G",
    "write -z 0 3G",
    "write -c 0 3G",
    "discard 0 3G",
    "writev 0 3G",
    "writev 0 1G 1536M",
    "aio_write 0 3G",
    "aio_write -z 0 1k 1k",
    "aio_write -u 0 1k",
    "aio_read 0 x",
    "aio_write x 1",
    "writev 2M 1k",
    "readv 2M 1k",
  ],
  "asynchronous requests": [
    "aio_write 0 1k",
    "aio_flush",
    "aio_read -v 0 16",
    "aio_flush",
    "aio_write 2M 1k",
    "aio_flush",
    "aio_read 2M 1k",
    "aio_flush",
    "aio_write -i 0 1k",
    "aio_read -i 0 1k",
  ],
  "sizes and allocation": [
    "truncate 2M",
    "length",
    "truncate 512k",
    "length",
    "discard 2M 1k",
    "discard -C 0 512k",
    "discard x 1",
    "discard 1 x",
    "discard 1",
    "alloc x",
    "alloc 1",
    "alloc 0 512",
    "alloc 0 x",
    "alloc 2M",
    "alloc 0 2M",
    "alloc 1 2 3",
    "truncate x",
    "truncate -m foo 1M",
    "truncate 9E",
    "map 1",
    "length 1",
    "flush 1",
    "map",
  ],
  reopen: [
    "reopen -o foo=bar",
    "reopen -c foo",
    "reopen -c none",
    "reopen -rw",
    "reopen x",
    "reopen -r -w",
    "reopen -o driver=vdi",
    "reopen -r -o read-only=off",
    "reopen -o cache.direct=on -c none",
    "reopen -o node-name=x",
    "reopen -o file.node-name=x",
    "reopen -o read-only=foo",
    "reopen -r",
    "write 0 512",
    "reopen -w",
    "write 0 512",
    "length",
  ],
  "odd words": [
    "foo",
    "help foo",
    "help length",
    "?  map",
    "sleep 1",
    "sleep x",
    "",
    "  ",
    "r 0 1",
    "read 0 0",
    "write 0 0",
    "write -z 0 0",
    "discard 0 0",
    "read -v 0 0",
    "read 1.5k 1b",
    "read 0.1 1",
    "read 0x10 0x10",
    "read -1 1",
    "read 0 -1",
    "read  - 1",
    "read -- -1 1",
    "read -P -1 0 1",
    "read -P 0x 0 1",
    "break a b",
    "resume a",
    "remove_break a",
    "sigraise x",
    "sigraise",
    "abort 1",
    "close",
    "read 0 1k",
  ],
  "pattern files": ["write -s /nonexistent 0 1k", "write -s pattern 0 1k", "read -v 0 32", "write -s", "write -s empty 0 1k"],
};

interface Case {
  name: string;
  setup: readonly string[];
  args: readonly string[];
  input?: string;
}
const cases: Case[] = [];
for (const [format, setup, base] of [
  ["qcow2", QCOW2, ["image"]],
  ["raw", RAW, ["-f", "raw", "image"]],
] as const) {
  for (const [name, list] of Object.entries(both))
    cases.push({ name: `${format}: ${name}`, setup, args: [...base, ...commands(...list)] });
  cases.push(
    {
      name: `${format}: read-only`,
      setup,
      args: [
        "-r",
        ...base,
        ...commands("write 0 1k", "writev 0 1k", "aio_write 0 1k", "discard 0 1k", "truncate 1k", "flush", "read 0 1k"),
      ],
    },
    { name: `${format}: info`, setup, args: [...base, ...commands("info")] },
    { name: `${format}: quit`, setup, args: [...base, ...commands("write 0 1k", "quit", "read 0 1")] },
    {
      name: `${format}: commands from standard input`,
      setup,
      args: base,
      input: "write 0 1k\nread 0 1k\n\nfoo\nquit\nread 0 1\n",
    },
    { name: `${format}: a failure from standard input`, setup, args: base, input: "write 0 1k\nread -P 3 0 1k\n" },
    {
      name: `${format}: a temporary snapshot`,
      setup,
      args: ["-s", ...base, ...commands("write -P 77 0 64k", "read -P 77 0 64k")],
    },
  );
  for (const option of [
    ["-U"],
    ["-U", "-r"],
    ["-n"],
    ["-m"],
    ["-k"],
    ["-k", "-t", "none"],
    ["-C", "-r"],
    ["-t", "foo"],
    ["-d", "foo"],
    ["-i", "foo"],
    ["-t", "unsafe"],
    ["-d", "ignore"],
  ]) {
    cases.push({ name: `${format}: ${option.join(" ")}`, setup, args: [...option, ...base, ...commands("length", "read 0 1k")] });
  }
}
const q = (name: string, ...args: string[]): void => void cases.push({ name, setup: QCOW2, args });
q(
  "open and close",
  ...commands(
    "open",
    "open image",
    "open image",
    "close",
    "open -x a",
    "open -o driver=foo image",
    "open -o driver=qcow2,file.driver=file,file.filename=image",
    "length",
    "close",
    "open a b",
    "open -r image",
    "write 0 1k",
    "close",
    "open -t foo image",
    "open -d foo image",
    "open -i foo image",
    "open -o read-only=on image",
    "read 0 1k",
    "close 1",
    "close",
  ),
);
q("open with a flag as option", ...commands("open -o foo image"));
q("open with an unknown option", ...commands("open -o foo=bar image"));
q("open with -U", ...commands("open -U image"));
q("open with -rU", ...commands("open -rU image", "info"));
q("an unknown format", "-f", "foo", "image", ...commands("length"));
q("qcow2 seen as raw", "-f", "raw", "image", ...commands("length", "info", "map"));
cases.push({ name: "map of nothing", setup: ["create -q -f raw image 0"], args: ["-f", "raw", ...commands("map"), "image"] });
q("the last format counts", "-f", "raw", "-f", "qcow2", "image", ...commands("length"));
q("image options", "--image-opts", "driver=qcow2,file.filename=image", ...commands("length"));
q("image options and a format", "--image-opts", "-f", "qcow2", "file.filename=image", ...commands("length"));
q("image options without a file", "--image-opts", "driver=qcow2", ...commands("length"));
q("a flag as image options", "--image-opts", "foo", ...commands("length"));
q("json: names", 'json:{"driver":"qcow2","file":{"driver":"file","filename":"image"}}', ...commands("length"));
q("an empty json: name", "json:{}", ...commands("length"));
q("a secret", "--object", "secret,id=sec0,data=abc", "image", ...commands("length"));
q("an unknown object", "--object", "foo,id=x", "image");
q("a missing file", "missing", ...commands("read 0 1"));
q("no file", ...commands("read 0 1", "quit", "foo"));
q(
  "overlap-check given twice",
  ...commands(
    "open -o overlap-check=constant,overlap-check.template=all image",
    "open -o overlap-check=constant,overlap-check.template=constant image",
    "reopen -o overlap-check=constant,overlap-check.template=all",
    "reopen -o overlap-check.template=all,overlap-check=all,overlap-check.active-l2=off",
  ),
);
cases.push({
  name: "raw by guess",
  setup: RAW,
  args: ["image", ...commands("write -s header 0 512", "write 512 1k", "close", "open image", "open -r image")],
});
cases.push({
  name: "an overlay",
  setup: [...QCOW2, "create -q -f qcow2 -b image -F qcow2 over"],
  args: [
    "over",
    ...commands("write 10 20", "map", "alloc 0", "read -v 0 32", "reopen -o backing=x", "reopen -o backing.driver=raw"),
  ],
});

function installed(): boolean {
  try {
    execFileSync("qemu-io", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

if (!installed()) {
  test("comparison with qemu-io", () => skip("qemu-io is not installed"));
} else {
  for (const { name, setup, args, input = "" } of cases) {
    test(name, async () => {
      const files = (): void => {
        fresh(setup);
        writeFileSync(join(folder, "pattern"), "abc\n");
        writeFileSync(join(folder, "empty"), "");
        writeFileSync(join(folder, "header"), "QFI\xfb\0\0\0\x03".padEnd(512, "\0"), "latin1");
      };
      files();
      const expected = real(args, input);
      files();
      assert.equal(await ours(args, input), expected, args.join(" "));
    });
  }

  const program = resolve("build/qemu/qemu-io");
  for (const command of ["sigraise 9", "sigraise 15", "abort"]) {
    test(`${command} ends the process as it does the real one`, () => {
      if (!existsSync(program)) return skip("build/qemu/qemu-io is not built");
      const run = (name: string): unknown => {
        fresh(QCOW2);
        const { stdout, signal } = spawnSync(name, ["-t", "writeback", "image", ...commands("write 0 1k", command, "read 0 1")], {
          cwd: folder,
          encoding: "utf8",
        });
        return { stdout: steady(stdout), signal, size: readFileSync(join(folder, "image")).length };
      };
      assert.equal(run(program), run("qemu-io"));
    });
  }
}

test.run();
