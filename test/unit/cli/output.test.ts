import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../src/base/error.js";
import { UsageError } from "../../../src/cli/options.js";
import { Bar, Output, type OutputStream } from "../../../src/cli/output.js";

/** A stream that remembers, can be full, and can fail. */
class FakeStream implements OutputStream {
  text = "";
  isTTY = false;
  columns = 60;
  full = false;
  fail: Error | null = null;
  #pending: (() => void)[] = [];
  #onError: ((error: Error) => void)[] = [];
  write(chunk: string | Uint8Array, done?: (error?: Error | null) => void): boolean {
    if (this.fail !== null) {
      const error = this.fail;
      queueMicrotask(() => {
        done?.(error);
        for (const listener of this.#onError) listener(error);
      });
      return true;
    }
    this.text += typeof chunk === "string" ? chunk : new TextDecoder().decode(chunk);
    if (this.full) this.#pending.push(() => done?.(null));
    else queueMicrotask(() => done?.(null));
    return !this.full;
  }
  drain(): void {
    this.full = false;
    for (const done of this.#pending.splice(0)) done();
  }
  once(): void {}
  on(_event: "error", listener: (error: Error) => void): void {
    this.#onError.push(listener);
  }
}
const open = (env: Record<string, string> = {}, program = "qemu-img") => {
  const stdout = new FakeStream();
  const stderr = new FakeStream();
  return { stdout, stderr, output: new Output({ program, stdout, stderr, env }) };
};

test("streams are made when something is said", async () => {
  const made: string[] = [];
  const stream = (name: string): OutputStream => {
    made.push(name);
    return new FakeStream();
  };
  const output = new Output({
    program: "qemu-img",
    get stdout() {
      return stream("stdout");
    },
    get stderr() {
      return stream("stderr");
    },
  });
  output.progress(false).report(50);
  assert.is(output.closed, false);
  await output.finish();
  assert.equal(made, []);
  output.line("a");
  output.line("b");
  assert.equal(made, ["stdout"]);
  output.note("c");
  assert.equal(made, ["stdout", "stderr"]);
  await output.finish();
});

test("errors, hints and warnings as qemu-img prints them", () => {
  const { output, stderr } = open();
  assert.is(output.failure(new UsageError("unrecognized option '--x'")), 1);
  assert.is(output.failure(new BlockError("ERR_INVALID_ARGUMENT", "Invalid image size specified. You may use\nkilobytes.")), 1);
  assert.is(
    output.failure(
      new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'id' expects an identifier", { hint: "Identifiers consist of letters." }),
    ),
    1,
  );
  output.warning("short-form boolean option 'x' deprecated\nPlease use x=on instead");
  assert.is(
    stderr.text,
    "qemu-img: unrecognized option '--x'\nTry 'qemu-img --help' for more information\n" +
      "qemu-img: Invalid image size specified. You may use\nqemu-img: kilobytes.\n" +
      "qemu-img: Parameter 'id' expects an identifier\nIdentifiers consist of letters.\n" +
      "qemu-img: warning: short-form boolean option 'x' deprecated\nPlease use x=on instead\n",
  );
});

test("progress: the bytes of qemu-img amend -p", () => {
  const { output, stdout } = open();
  const progress = output.progress(true);
  for (const done of [0, 1, 2, 3, 3]) progress.update(done, 3);
  progress.end();
  assert.is(stdout.text, "    (0.00/100%)\r    (33.33/100%)\r    (66.67/100%)\r    (100.00/100%)\r    (100.00/100%)\r\n");
  const quiet = open();
  const none = quiet.output.progress(false);
  none.update(1, 2);
  none.end();
  assert.is(quiet.stdout.text, "");
});

test("progress: small steps are left out", () => {
  const { output, stdout } = open();
  const progress = output.progress(true, 2);
  for (const percent of [0, 1, 2, 2.5, 4, 4.6, 250, NaN]) progress.report(percent);
  assert.is(stdout.text, "    (0.00/100%)\r    (2.50/100%)\r    (4.60/100%)\r    (100.00/100%)\r");
});

test("back-pressure: stream() waits for room", async () => {
  const { output, stdout } = open();
  stdout.full = true;
  let done = false;
  const writing = output.stream(new Uint8Array([65])).then(() => {
    done = true;
  });
  await Promise.resolve();
  await new Promise((wake) => setTimeout(wake, 1));
  assert.is(done, false);
  stdout.drain();
  await writing;
  assert.is(stdout.text, "A");
  await output.finish();
});

test("a closed pipe is quiet, another write error is not", async () => {
  const closed = open();
  closed.stdout.fail = Object.assign(new Error("write EPIPE"), { code: "EPIPE" });
  closed.output.line("x");
  await closed.output.finish();
  assert.is(closed.output.closed, true);
  closed.output.line("y");
  await closed.output.finish();
  assert.is(closed.output.failure(new BlockError("ERR_IO", "Broken pipe", { errno: "EPIPE" })), 1);
  assert.is(closed.stderr.text, "");

  const broken = open();
  broken.stdout.fail = Object.assign(new Error("write ENOSPC"), { code: "ENOSPC" });
  broken.output.line("x");
  const error = await broken.output.finish().then(
    () => null,
    (reason: unknown) => reason,
  );
  assert.instance(error, BlockError);
  assert.is((error as BlockError).code, "ERR_NO_SPACE");
});

test("colour: terminals, NO_COLOR, FORCE_COLOR, dumb", () => {
  const colour = (env: Record<string, string>, tty: boolean): boolean => {
    const { output, stderr } = open(env);
    stderr.isTTY = tty;
    return output.color;
  };
  assert.is(colour({}, false), false);
  assert.is(colour({}, true), true);
  assert.is(colour({ NO_COLOR: "1" }, true), false);
  assert.is(colour({ NO_COLOR: "" }, true), true);
  assert.is(colour({ FORCE_COLOR: "1" }, false), true);
  assert.is(colour({ TERM: "dumb" }, true), false);
});

test("the bar: only on a terminal, fits the line, not too often", () => {
  let now = 0;
  const drawn: string[] = [];
  const bar = new Bar(
    (text) => drawn.push(text),
    () => 60,
    false,
    "convert",
    () => now,
  );
  now = 1000;
  bar.update(1048576, 4194304);
  now = 1050;
  bar.update(2097152, 4194304);
  assert.is(drawn.length, 1);
  assert.match(drawn[0]!, /^\rconvert \[#+-+\]  25\.0% 1\.0 MiB\/s 3s left\x1b\[K$/);
  assert.ok(drawn[0]!.replace("\r", "").replace("\x1b[K", "").length < 60);
  bar.update(4194304, 4194304);
  assert.match(drawn[1]!, /100\.0%/);
  const { output, stderr } = open();
  const silent = output.bar("x", () => 0);
  silent.update(1, 2);
  silent.end();
  assert.is(stderr.text, "");
});

test.run();
