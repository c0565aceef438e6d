/**
 * JSON as QEMU reads it.
 *
 * RFC 8259 plus QEMU's extras: strings may be quoted with apostrophes, `\'` is an escape, "\xC0\x80" is NUL. Integers are
 * exact: a `bigint` where a number would round; integers beyond 64 bits become floating point, as in QEMU. Limits on
 * nesting, tokens and bytes are QEMU's, so hostile input can neither recurse nor grow without bound.
 */
import { encodeText } from "../base/bytes.js";
import { BlockError, toBlockError } from "../base/error.js";

export type JsonValue = null | boolean | number | bigint | string | JsonValue[] | JsonObject;
export interface JsonObject {
  [key: string]: JsonValue;
}

/** Deepest nesting of objects and arrays. */
export const JSON_MAX_NESTING: number = 1024;
/** Most bytes in one value (all its tokens). */
const JSON_MAX_BYTES: number = 64 * 1024 * 1024;
/** Most tokens in one value. */
const JSON_MAX_TOKENS: number = 2 * 1024 * 1024;

/** What one value may take; a reader of strangers' input sets them lower. */
export interface JsonLimits {
  bytes: number;
  tokens: number;
}

export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Sets a member even if it is called `__proto__`. */
export function setMember(object: JsonObject, key: string, value: JsonValue): void {
  if (key === "__proto__") Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
  else object[key] = value;
}

/** Own member or undefined; never something inherited from Object.prototype. */
export function getMember(object: JsonObject, key: string): JsonValue | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

const enum Kind {
  OpenBrace,
  CloseBrace,
  OpenBracket,
  CloseBracket,
  Comma,
  Colon,
  Integer,
  Float,
  Keyword,
  String,
}

/** Small, as one message may have very many. */
interface Token {
  kind: Kind;
  /** What a number or keyword looks like, or what a string means. */
  text: string;
  /** Why a string is none: told when the parser gets there. */
  error?: BlockError;
}

const enum State {
  Start,
  DoubleQuoted,
  DoubleQuotedEscape,
  SingleQuoted,
  SingleQuotedEscape,
  Minus,
  Zero,
  Digits,
  Point,
  Fraction,
  Exponent,
  ExponentSign,
  ExponentDigits,
  Keyword,
  /** After a lexical error: skip to something a message can start with. */
  Recovery,
}

/** By their byte; in the order of Kind. All brackets and separators of a kind are one token. */
const PUNCTUATION: ReadonlyMap<number, Token> = new Map(
  "{}[],:".split("").map((text, kind: Kind) => [text.charCodeAt(0), { kind, text }]),
);

const isDigit = (byte: number): boolean => byte >= 0x30 && byte <= 0x39;
const isLower = (byte: number): boolean => byte >= 0x61 && byte <= 0x7a;
const isBlank = (byte: number): boolean => byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;
const isStringByte = (byte: number): boolean => byte >= 0x20 && byte <= 0xfd;

/** Bytes of a wrong token that a message repeats. */
const MAX_SHOWN = 4096;
const EMPTY = /* @__PURE__ */ new Uint8Array(0);
/** Room for a token that came in pieces that is kept for the next one. */
const KEPT_ROOM = 4096;
const utf8 = new TextDecoder("utf-8", { fatal: false, ignoreBOM: true });

const syntaxError = (what: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", `JSON parse error, ${what}`);

/**
 * Incremental reader: bytes in (cut anywhere), values and errors out, in order. After an error it finds its feet again at
 * the next token that may start a message, so one bad QMP line does not poison the following ones.
 */
export class JsonReader {
  readonly #onValue: (value: JsonValue) => void;
  readonly #onError: (error: BlockError) => void;
  readonly #limits: JsonLimits;
  #state: State = State.Start;
  /** What earlier chunks had of the current token: the first `#carryLength` bytes. */
  #carry: Uint8Array = EMPTY;
  #carryLength = 0;
  #tokens: Token[] = [];
  /** The first string of the message that is none. */
  #wrong: Token | null = null;
  #size = 0;
  #braces = 0;
  #brackets = 0;

  constructor(
    onValue: (value: JsonValue) => void,
    onError: (error: BlockError) => void,
    limits: JsonLimits = { bytes: JSON_MAX_BYTES, tokens: JSON_MAX_TOKENS },
  ) {
    this.#onValue = onValue;
    this.#onError = onError;
    this.#limits = limits;
  }

  /** Bytes of the value that has begun and is not complete. */
  get held(): number {
    return this.#size + this.#carryLength;
  }

  feed(chunk: Uint8Array): void {
    let start = 0;
    for (let at = 0; at < chunk.length;) {
      const byte = chunk[at]!;
      const before = this.#state;
      const step = this.#step(byte);
      switch (step) {
        case Step.Error:
          at++;
          this.#fail(this.#take(chunk, start, at));
          start = at;
          break;
        case Step.Skip:
          at++;
          start = at;
          break;
        case Step.More:
          at++;
          break;
        case Step.Retry:
          start = at;
          break;
        case Step.EndBefore:
          this.#emitToken(before, this.#take(chunk, start, at));
          start = at;
          break;
        case Step.EndAfter:
          at++;
          this.#emitToken(before, this.#take(chunk, start, at));
          start = at;
          break;
      }
      if (this.#carryLength + (at - start) > this.#limits.bytes && this.#state !== State.Recovery) {
        this.#drop();
        start = at;
        // What follows is most likely more of the same.
        this.#state = State.Recovery;
        this.#report(new BlockError("ERR_TOO_LARGE", "JSON token size limit exceeded"));
      }
    }
    if (start < chunk.length && this.#state !== State.Recovery) this.#keep(chunk.subarray(start));
  }

  /** End of input: reports what is left half-done. */
  end(): void {
    const before = this.#state;
    if (before !== State.Start && before !== State.Recovery) {
      const bytes = this.#take(EMPTY, 0, 0);
      this.#state = State.Start;
      if (
        before === State.Zero ||
        before === State.Digits ||
        before === State.Fraction ||
        before === State.ExponentDigits ||
        before === State.Keyword
      ) {
        this.#emitToken(before, bytes);
      } else {
        this.#fail(bytes);
      }
    }
    this.#state = State.Start;
    if (this.#tokens.length > 0) this.#parse();
  }

  #drop(): void {
    if (this.#carry.length > KEPT_ROOM) this.#carry = EMPTY;
    this.#carryLength = 0;
  }

  #keep(piece: Uint8Array): void {
    const length = this.#carryLength + piece.length;
    if (length > this.#carry.length) {
      const larger = new Uint8Array(Math.max(KEPT_ROOM, 2 ** Math.ceil(Math.log2(length))));
      larger.set(this.#carry.subarray(0, this.#carryLength));
      this.#carry = larger;
    }
    this.#carry.set(piece, this.#carryLength);
    this.#carryLength = length;
  }

  /** All bytes of the token that ends in `chunk`: a view that is good until the next one. */
  #take(chunk: Uint8Array, start: number, end: number): Uint8Array {
    const tail = chunk.subarray(start, end);
    if (this.#carryLength === 0) return tail;
    this.#keep(tail);
    const all = this.#carry.subarray(0, this.#carryLength);
    this.#drop();
    return all;
  }

  /** One byte through the lexer's state table; sets the next state. */
  #step(byte: number): Step {
    switch (this.#state) {
      case State.Start:
        if (isBlank(byte)) return Step.Skip;
        if (PUNCTUATION.has(byte)) return Step.EndAfter;
        if (byte === 0x22) return this.#to(State.DoubleQuoted);
        if (byte === 0x27) return this.#to(State.SingleQuoted);
        if (byte === 0x2d) return this.#to(State.Minus);
        if (byte === 0x30) return this.#to(State.Zero);
        if (isDigit(byte)) return this.#to(State.Digits);
        if (isLower(byte)) return this.#to(State.Keyword);
        return Step.Error;
      case State.DoubleQuoted:
        if (byte === 0x22) return Step.EndAfter;
        if (byte === 0x5c) return this.#to(State.DoubleQuotedEscape);
        return isStringByte(byte) ? Step.More : Step.Error;
      case State.SingleQuoted:
        if (byte === 0x27) return Step.EndAfter;
        if (byte === 0x5c) return this.#to(State.SingleQuotedEscape);
        return isStringByte(byte) ? Step.More : Step.Error;
      case State.DoubleQuotedEscape:
        return isStringByte(byte) ? this.#to(State.DoubleQuoted) : Step.Error;
      case State.SingleQuotedEscape:
        return isStringByte(byte) ? this.#to(State.SingleQuoted) : Step.Error;
      case State.Minus:
        if (byte === 0x30) return this.#to(State.Zero);
        return isDigit(byte) ? this.#to(State.Digits) : Step.Error;
      case State.Zero:
        // "0e1" is no number to QEMU, "0.0e1" is.
        if (isDigit(byte)) return Step.Error;
        return byte === 0x2e ? this.#to(State.Point) : Step.EndBefore;
      case State.Digits:
        if (isDigit(byte)) return Step.More;
        if (byte === 0x2e) return this.#to(State.Point);
        if (byte === 0x65 || byte === 0x45) return this.#to(State.Exponent);
        return Step.EndBefore;
      case State.Point:
        return isDigit(byte) ? this.#to(State.Fraction) : Step.Error;
      case State.Fraction:
        if (isDigit(byte)) return Step.More;
        if (byte === 0x65 || byte === 0x45) return this.#to(State.Exponent);
        return Step.EndBefore;
      case State.Exponent:
        if (byte === 0x2b || byte === 0x2d) return this.#to(State.ExponentSign);
        return isDigit(byte) ? this.#to(State.ExponentDigits) : Step.Error;
      case State.ExponentSign:
        return isDigit(byte) ? this.#to(State.ExponentDigits) : Step.Error;
      case State.ExponentDigits:
        return isDigit(byte) ? Step.More : Step.EndBefore;
      case State.Keyword:
        return isLower(byte) ? Step.More : Step.EndBefore;
      case State.Recovery:
        if (isStringByte(byte) && !PUNCTUATION.has(byte)) return Step.Skip;
        this.#state = State.Start;
        return Step.Retry;
    }
  }

  #to(state: State): Step {
    this.#state = state;
    return Step.More;
  }

  #emitToken(state: State, bytes: Uint8Array): void {
    this.#state = State.Start;
    const token = tokenOf(state, bytes, this.#wrong);
    if (token.error !== undefined) this.#wrong = token;
    const { kind } = token;
    if (kind === Kind.OpenBrace) this.#braces++;
    else if (kind === Kind.CloseBrace) this.#braces--;
    else if (kind === Kind.OpenBracket) this.#brackets++;
    else if (kind === Kind.CloseBracket) this.#brackets--;
    this.#size += bytes.length;
    this.#tokens.push(token);

    if (this.#braces < 0 || this.#brackets < 0 || (this.#braces === 0 && this.#brackets === 0)) {
      this.#parse();
    } else if (this.#size > this.#limits.bytes) {
      this.#report(new BlockError("ERR_TOO_LARGE", "JSON token size limit exceeded"));
    } else if (this.#tokens.length > this.#limits.tokens) {
      this.#report(new BlockError("ERR_TOO_LARGE", "JSON token count limit exceeded"));
    } else if (this.#braces + this.#brackets > JSON_MAX_NESTING) {
      this.#report(new BlockError("ERR_TOO_LARGE", "JSON nesting depth limit exceeded"));
    }
  }

  #fail(bytes: Uint8Array): void {
    this.#state = State.Recovery;
    const shown = bytes.length > MAX_SHOWN ? `${utf8.decode(bytes.subarray(0, MAX_SHOWN))}…` : utf8.decode(bytes);
    this.#report(syntaxError(`stray '${shown}'`));
  }

  #report(error: BlockError): void {
    this.#reset();
    this.#onError(error);
  }

  #reset(): void {
    this.#tokens = [];
    this.#wrong = null;
    this.#size = 0;
    this.#braces = 0;
    this.#brackets = 0;
  }

  #parse(): void {
    const tokens = this.#tokens;
    this.#reset();
    let value: JsonValue;
    try {
      value = new Parser(tokens).value();
    } catch (error) {
      this.#onError(toBlockError(error));
      return;
    }
    this.#onValue(value);
  }
}

const enum Step {
  /** The byte belongs to no token: a lexical error that includes it. */
  Error,
  /** The byte is of no interest. */
  Skip,
  /** The byte belongs to the current token. */
  More,
  /** Look at the same byte again in the new state. */
  Retry,
  /** The token ended before this byte. */
  EndBefore,
  /** The token ends with this byte. */
  EndAfter,
}

/** The token whose bytes ended in a state. Strings after a wrong one are of no interest. */
function tokenOf(state: State, bytes: Uint8Array, wrong: Token | null): Token {
  switch (state) {
    case State.DoubleQuoted:
    case State.SingleQuoted:
      if (wrong !== null) return wrong;
      try {
        return { kind: Kind.String, text: unescape(bytes.subarray(1, -1)) };
      } catch (error) {
        return { kind: Kind.String, text: "", error: toBlockError(error) };
      }
    case State.Start:
      return PUNCTUATION.get(bytes[0]!)!;
    default: {
      const kind =
        state === State.Keyword ? Kind.Keyword : state === State.Zero || state === State.Digits ? Kind.Integer : Kind.Float;
      return { kind, text: utf8.decode(bytes) };
    }
  }
}

/** Parses the tokens of one message. Recursion is bounded by JSON_MAX_NESTING, which the reader enforces. */
class Parser {
  readonly #tokens: Token[];
  #next = 0;

  constructor(tokens: Token[]) {
    this.#tokens = tokens;
  }

  #pop(): Token {
    const token = this.#tokens[this.#next++];
    if (token === undefined) throw syntaxError("premature EOI");
    return token;
  }

  value(): JsonValue {
    const token = this.#pop();
    switch (token.kind) {
      case Kind.OpenBrace:
        return this.#object();
      case Kind.OpenBracket:
        return this.#array();
      case Kind.String:
        if (token.error !== undefined) throw token.error;
        return token.text;
      case Kind.Integer:
        return integer(token.text);
      case Kind.Float:
        return Number(token.text);
      case Kind.Keyword: {
        const word = token.text;
        if (word === "true") return true;
        if (word === "false") return false;
        if (word === "null") return null;
        throw syntaxError(`invalid keyword '${word}'`);
      }
      default:
        throw syntaxError("expecting value");
    }
  }

  #object(): JsonObject {
    const object: JsonObject = {};
    if (this.#tokens[this.#next]?.kind === Kind.CloseBrace) {
      this.#next++;
      return object;
    }
    for (;;) {
      const key = this.value();
      if (typeof key !== "string") throw syntaxError("key is not a string in object");
      if (this.#pop().kind !== Kind.Colon) throw syntaxError("missing : in object pair");
      const value = this.value();
      if (Object.hasOwn(object, key)) throw syntaxError("duplicate key");
      setMember(object, key, value);
      const separator = this.#pop().kind;
      if (separator === Kind.CloseBrace) return object;
      if (separator !== Kind.Comma) throw syntaxError("expected separator in dict");
    }
  }

  #array(): JsonValue[] {
    const array: JsonValue[] = [];
    if (this.#tokens[this.#next]?.kind === Kind.CloseBracket) {
      this.#next++;
      return array;
    }
    for (;;) {
      array.push(this.value());
      const separator = this.#pop().kind;
      if (separator === Kind.CloseBracket) return array;
      if (separator !== Kind.Comma) throw syntaxError("expected separator in list");
    }
  }
}

const INT64_MIN = -(2n ** 63n);
const UINT64_MAX = 2n ** 64n - 1n;

function integer(text: string): number | bigint {
  const value = Number(text);
  if (Number.isSafeInteger(value)) return value === 0 ? 0 : value;
  // 40 digits are far beyond 64 bits; do not build a huge bigint only to refuse it.
  if (text.length > 40) return value;
  const exact = BigInt(text);
  return exact >= INT64_MIN && exact <= UINT64_MAX ? exact : value;
}

/** What a letter after a backslash stands for. */
const SIMPLE_ESCAPES: Record<string, string> = {
  '"': '"',
  "'": "'",
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

/** What the bytes between quotes mean. */
function unescape(bytes: Uint8Array): string {
  // No escape is shorter than what it stands for; in bytes, as a string that grows by a character at a time takes 32 times as much.
  const plain = new Uint8Array(bytes.length);
  let length = 0;
  const failure = (what: string): BlockError => {
    // What is wrong before it is told first.
    strictUtf8(plain.subarray(0, length));
    return syntaxError(what);
  };
  for (let at = 0; at < bytes.length;) {
    const byte = bytes[at]!;
    if (byte === 0xc0 && bytes[at + 1] === 0x80) {
      // Modified UTF-8: NUL without a zero byte.
      plain[length++] = 0;
      at += 2;
      continue;
    }
    if (byte !== 0x5c) {
      plain[length++] = byte;
      at++;
      continue;
    }
    const letter = String.fromCharCode(bytes[at + 1]!);
    const simple = SIMPLE_ESCAPES[letter];
    if (simple !== undefined) {
      plain[length++] = simple.charCodeAt(0);
      at += 2;
    } else if (letter === "u") {
      const { point, end } = codePoint(bytes, at);
      if (point < 0 || NO_CHARACTER.test(String.fromCodePoint(point))) {
        const shown = utf8.decode(bytes.subarray(at, at + 6));
        throw failure(`${shown}${at + 6 > bytes.length ? '"' : ""} is not a valid Unicode character`);
      }
      const encoded = encodeText(String.fromCodePoint(point));
      plain.set(encoded, length);
      length += encoded.length;
      at = end;
    } else throw failure("invalid escape sequence in string");
  }
  return strictUtf8(plain.subarray(0, length));
}

/** The code point of the `\\uXXXX`, or pair of them, at a place: -1 where there are no four digits. */
function codePoint(bytes: Uint8Array, at: number): { point: number; end: number } {
  const first = hex4(bytes, at + 2);
  if (first >= 0xd800 && first <= 0xdbff && bytes[at + 6] === 0x5c && bytes[at + 7] === 0x75) {
    const second = hex4(bytes, at + 8);
    if (second >= 0xdc00 && second <= 0xdfff)
      return { point: 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), end: at + 12 };
  }
  return { point: first, end: at + 6 };
}

/** Four hex digits, or -1. */
function hex4(bytes: Uint8Array, at: number): number {
  const text = utf8.decode(bytes.subarray(at, at + 4));
  return /^[0-9a-fA-F]{4}$/.test(text) ? parseInt(text, 16) : -1;
}

/** Surrogates without their other half, and what Unicode has declared to be no character for ever. */
const NO_CHARACTER = /[\p{Surrogate}\p{Noncharacter_Code_Point}]/u;

const fatalUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function strictUtf8(bytes: Uint8Array): string {
  if (bytes.length === 0) return "";
  let text: string;
  try {
    text = fatalUtf8.decode(bytes);
  } catch {
    throw syntaxError("invalid UTF-8 sequence in string");
  }
  if (NO_CHARACTER.test(text)) throw syntaxError("invalid UTF-8 sequence in string");
  return text;
}

/** Exactly one JSON value; errors are BlockErrors worded as QEMU words them. */
export function parseJson(text: string | Uint8Array): JsonValue {
  let result: JsonValue | undefined;
  let failure: BlockError | undefined;
  const reader = new JsonReader(
    (value) => {
      if (failure !== undefined) return;
      if (result !== undefined) failure = new BlockError("ERR_INVALID_ARGUMENT", "Expecting at most one JSON value");
      else result = value;
    },
    (error) => {
      if (failure !== undefined) return;
      failure = result === undefined ? error : new BlockError("ERR_INVALID_ARGUMENT", "Expecting at most one JSON value");
    },
  );
  reader.feed(typeof text === "string" ? encodeText(text) : text);
  reader.end();
  if (failure !== undefined) throw failure;
  if (result === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", "Expecting a JSON value");
  return result;
}
