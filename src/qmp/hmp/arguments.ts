/** Reading the arguments of a human monitor command from its line. */
import { BlockError } from "../../base/error.js";
import { parseSize64 } from "../../base/size.js";
import type { HmpCommand, HmpParameter } from "./command.js";

/** What is wrong with a command line, as it is printed: a line without its end. */
const wrong = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", "\\": "\\", "'": "'", '"': '"' };
const EXPECTED: Partial<Record<HmpParameter["type"], string>> = {
  device: "block device name expected",
  file: "filename expected",
};
const MiB = 1048576n;

class Line {
  readonly #text: string;
  #at = 0;
  constructor(text: string) {
    this.#text = text;
  }
  skipBlanks(): void {
    while (/\s/.test(this.#text.charAt(this.#at))) this.#at++;
  }
  get atEnd(): boolean {
    return this.#at >= this.#text.length;
  }
  peek(ahead = 0): string {
    return this.#text.charAt(this.#at + ahead);
  }
  skip(count: number): void {
    this.#at += count;
  }
  rest(): string {
    const rest = this.#text.slice(this.#at);
    this.#at = this.#text.length;
    return rest;
  }
  /** A word, or text in double quotes; null when there is none. */
  word(): string | null {
    this.skipBlanks();
    if (this.atEnd) return null;
    if (this.peek() !== '"') {
      const [word] = /^\S+/.exec(this.#text.slice(this.#at))!;
      this.#at += word.length;
      return word;
    }
    this.#at++;
    let out = "";
    for (;;) {
      const letter = this.peek();
      if (letter === "") throw wrong("unterminated string");
      this.#at++;
      if (letter === '"') return out;
      if (letter !== "\\") {
        out += letter;
        continue;
      }
      const escaped = ESCAPES[this.peek()];
      if (escaped === undefined) throw wrong(`unsupported escape code: '\\${this.peek()}'`);
      out += escaped;
      this.#at++;
    }
  }
}

/**
 * The arguments of a command by their names.
 * @throws BlockError with the words QEMU has for it
 */
export function parseArguments(command: HmpCommand, text: string): Record<string, string | number | boolean | undefined> {
  const line = new Line(text);
  const values: Record<string, string | number | boolean | undefined> = {};
  const flags = new Set(command.parameters.flatMap(({ letter }) => letter ?? []));
  for (const parameter of command.parameters) {
    line.skipBlanks();
    if (parameter.type === "flag") {
      if (line.peek() !== "-") continue;
      const letter = line.peek(1);
      if (letter === parameter.letter) {
        line.skip(2);
        values[parameter.name] = true;
      } else if (!flags.has(letter)) {
        throw wrong(`${command.name}: unsupported option -${letter}`);
      }
      continue;
    }
    if (line.atEnd && parameter.optional === true) continue;
    values[parameter.name] = parseValue(command, parameter, line);
  }
  line.skipBlanks();
  if (!line.atEnd) throw wrong(`${command.name}: extraneous characters at the end of line`);
  return values;
}

function parseValue(command: HmpCommand, { type }: HmpParameter, line: Line): string | number {
  const expected = wrong(`${command.name}: ${EXPECTED[type] ?? "string expected"}`);
  if (type === "rest") {
    if (line.atEnd) throw expected;
    return line.rest();
  }
  if (type === "integer" || type === "size") {
    const word = line.word();
    return type === "size" ? parseMebibytes(word ?? "") : parseNumber(word);
  }
  let word: string | null;
  try {
    word = line.word();
  } catch (error) {
    throw wrong(`${(error as BlockError).message}\n${expected.message}`);
  }
  if (word === null) throw expected;
  return word;
}

function parseNumber(word: string | null): number {
  if (word === null) throw wrong("unexpected end of expression");
  if (!/^[-+]?(0x[0-9a-f]+|\d+)$/i.test(word)) throw wrong("invalid char in expression");
  const value = Number(word.replace(/^[-+]/, "")) * (word.startsWith("-") ? -1 : 1);
  if (!Number.isSafeInteger(value)) throw wrong("integer is for 64-bit values");
  return value;
}

/** Bytes: a number without a suffix means mebibytes. */
function parseMebibytes(word: string): number {
  const plain = /^\d+(\.\d+)?$/.test(word);
  const size = parseSize64(plain ? `${word}M` : word);
  if (size.status !== "ok" || size.value > 8192n * MiB * MiB) throw wrong("invalid size");
  return Number(size.value);
}
