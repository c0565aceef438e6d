/** `aio_read`, `aio_write`, `aio_flush`: requests that go on while further commands run. */
import type { Command, Outcome } from "./command.js";
import { performRead, vectoredRead } from "./read.js";
import type { IoSession } from "./session.js";
import { performWrite, vectoredWrite } from "./write.js";

/** Lets it run on, counted as activity. */
function start(session: IoSession, kind: "read" | "write", bytes: number, work: Promise<Outcome>): void {
  const ticket = session.accounting?.start(kind, bytes);
  session.start(work.then((outcome) => (outcome === "done" ? ticket?.done() : ticket?.failed())));
}

export const aioReadCommand: Command = {
  name: "aio_read",
  min: 2,
  max: -1,
  usage: "[-Ciqv] [-P pattern] off len [len..]",
  summary: "asynchronously reads a number of bytes",
  help: [
    " Starts reading a range and returns; its report appears when it is done. aio_flush waits for it.",
    " The command counts as successful once the request was started.",
    "",
    " Example:",
    " 'aio_read -v 512 1k 1k' - shows 2 KiB from offset 512",
    "",
    " -C, -- statistics as comma-separated values",
    " -i, -- an invalid request, to exercise statistics",
    " -P, -- the byte every byte must equal",
    " -v, -- show the bytes",
    " -q, -- print nothing but failures",
  ],
  async run(session, words) {
    const request = vectoredRead(session, aioReadCommand, "CP:iqv", words);
    if (request === null) return "failed";
    if (request.invalid) {
      session.accounting?.invalid("read");
      session.print("injecting invalid read request\n");
      return "done";
    }
    start(session, "read", request.length, performRead(session, request, "readv"));
    return "done";
  },
};

export const aioWriteCommand: Command = {
  name: "aio_write",
  min: 2,
  max: -1,
  usage: "[-Cfiquz] [-P pattern] off len [len..]",
  summary: "asynchronously writes a number of bytes",
  writes: true,
  help: [
    " Starts writing a range and returns; its report appears when it is done. aio_flush waits for it.",
    " The command counts as successful once the request was started.",
    "",
    " Example:",
    " 'aio_write 512 1k 1k' - writes 2 KiB at offset 512",
    "",
    " -P, -- the byte to write (0xcd when absent)",
    " -C, -- statistics as comma-separated values",
    " -f, -- on stable storage when the request ends",
    " -i, -- an invalid request, to exercise statistics",
    " -q, -- print nothing but failures",
    " -u, -- with -z, space may be given back",
    " -z, -- make the range read as zeros",
  ],
  async run(session, words) {
    const request = vectoredWrite(session, aioWriteCommand, "CfiP:quz", words);
    if (request === null) return "failed";
    if (request.invalid) {
      session.accounting?.invalid("write");
      session.print("injecting invalid write request\n");
      return "done";
    }
    start(session, "write", request.length, performWrite(session, request, "aio_write"));
    return "done";
  },
};

export const aioFlushCommand: Command = {
  name: "aio_flush",
  min: 0,
  max: 0,
  summary: "completes all outstanding aio requests",
  async run(session) {
    const ticket = session.accounting?.start("flush", 0);
    await session.drain();
    ticket?.done();
    return "done";
  },
};
