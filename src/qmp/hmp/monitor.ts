/**
 * The human monitor on a connection: a greeting, a prompt, commands one after the other. What is typed is echoed as QEMU's line editor
 * does it, so that scripts made for QEMU find the text they wait for.
 */
import { encodeText } from "../../base/bytes.js";
import type { Duplex } from "../../nbd/duplex.js";
import type { BlockCore } from "../command.js";

export interface HmpMonitorOptions {
  /** As in the greeting: "7.2.0". */
  version: string;
  /** Nothing is prompted for any more. */
  isEnding: () => boolean;
}

const PROMPT = "(qemu) ";
/** Longest line, in characters; the rest of a longer one is dropped. */
const MAX_LINE = 4095;
const LEFT = "\u001B[D";
const CLEAR = "\u001B[K";

export class HmpMonitor {
  readonly #core: BlockCore;
  readonly #duplex: Duplex;
  readonly #options: HmpMonitorOptions;
  #line = "";
  /** Characters of the line that are on the screen. */
  #shown = 0;

  constructor(core: BlockCore, duplex: Duplex, options: HmpMonitorOptions) {
    this.#core = core;
    this.#duplex = duplex;
    this.#options = options;
  }

  #print(text: string): Promise<void> {
    return this.#duplex.write([encodeText(text.replaceAll(/\r?\n/g, "\r\n"))]);
  }

  async greet(): Promise<void> {
    await this.#print(`QEMU ${this.#options.version} monitor - type 'help' for more information\n${PROMPT}`);
  }

  /** Until the client goes. */
  async serve(): Promise<void> {
    const decoder = new TextDecoder();
    try {
      for await (const chunk of this.#duplex.incoming)
        for (const letter of decoder.decode(chunk, { stream: true })) await this.#type(letter);
    } catch {
      // the client has gone
    }
  }

  async #type(letter: string): Promise<void> {
    if (this.#options.isEnding()) return;
    if (letter === "\n" || letter === "\r") {
      const line = this.#line;
      this.#line = "";
      this.#shown = 0;
      await this.#print("\n");
      await this.#run(line);
      return;
    }
    if (letter === "\b" || letter === "\u007F") this.#line = this.#line.slice(0, -1);
    else if (letter >= " " && this.#line.length < MAX_LINE) this.#line += letter;
    else return;
    await this.#print(LEFT.repeat(this.#shown) + this.#line + CLEAR);
    this.#shown = this.#line.length;
  }

  async #run(line: string): Promise<void> {
    const printed = (await this.#core.execute("human-monitor-command", { "command-line": line })) as string;
    if (printed !== "") await this.#print(printed);
    if (!this.#options.isEnding()) await this.#print(PROMPT);
  }
}
