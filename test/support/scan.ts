/**
 * A scanner of TypeScript text: enough of the lexical grammar (comments, strings, nested templates, regular expressions) to
 * see what a file imports and which words it uses, without mistaking text for code. It does not parse.
 */
export interface Token {
  kind: "name" | "number" | "string" | "template" | "regexp" | "punctuator";
  /** The token's text; for a string its value without the quotes (escapes left as they are). */
  text: string;
  /** Line number from 1. */
  line: number;
}

export interface Import {
  specifier: string;
  /** `url`: `new URL("./x.js", import.meta.url)`, the way a worker's file is named. */
  form: "static" | "type" | "side-effect" | "re-export" | "dynamic" | "type-query" | "url" | "require";
  line: number;
}

/** After these words a `/` starts a regular expression, not a division. */
const BEFORE_REGEXP = new Set([
  "return",
  "typeof",
  "instanceof",
  "in",
  "of",
  "new",
  "delete",
  "void",
  "throw",
  "case",
  "do",
  "else",
  "yield",
  "await",
]);
const NAME_START = /[\p{ID_Start}$_#@]/u;
const NAME_REST = /[\p{ID_Continue}$\u200c\u200d]/u;

/** Splits TypeScript text into tokens; throws on text that ends inside a comment, string or template. */
export function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  /** For each open template substitution: the depth of braces inside it. */
  const substitutions: number[] = [];
  let at = 0;
  let line = 1;

  const fail = (what: string): never => {
    throw new Error(`line ${line}: unterminated ${what}`);
  };
  const push = (kind: Token["kind"], text: string, startLine = line): void => {
    tokens.push({ kind, text, line: startLine });
  };
  const skipTo = (end: number): void => {
    for (; at < end; at++) if (source[at] === "\n") line++;
  };
  /** Reads template characters up to the closing backquote or the next `${`. */
  const template = (): void => {
    const startLine = line;
    const start = at;
    for (;;) {
      const char = source[at];
      if (char === undefined) fail("template");
      if (char === "\\") skipTo(at + 2);
      else if (char === "`") {
        push("template", source.slice(start, at), startLine);
        at++;
        return;
      } else if (char === "$" && source[at + 1] === "{") {
        push("template", source.slice(start, at), startLine);
        at += 2;
        substitutions.push(0);
        return;
      } else skipTo(at + 1);
    }
  };
  const regexpAllowed = (): boolean => {
    const last = tokens.at(-1);
    if (!last) return true;
    if (last.text === "!" && last.kind === "punctuator") {
      // "x! / y": a non-null assertion ends an operand, a negation begins one.
      const before = tokens.at(-2);
      return (
        before === undefined ||
        (before.kind === "punctuator" ? before.text !== ")" && before.text !== "]" : BEFORE_REGEXP.has(before.text))
      );
    }
    if (last.kind === "punctuator") return last.text !== ")" && last.text !== "]" && last.text !== "}";
    return last.kind === "name" && BEFORE_REGEXP.has(last.text);
  };

  while (at < source.length) {
    const char = source[at]!;
    const next = source[at + 1];
    if (char === "\n" || char === " " || char === "\t" || char === "\r" || char === "\ufeff") skipTo(at + 1);
    else if (char === "/" && next === "/") {
      const end = source.indexOf("\n", at);
      at = end < 0 ? source.length : end;
    } else if (char === "#" && next === "!" && at === 0) {
      at = source.indexOf("\n");
      if (at < 0) at = source.length;
    } else if (char === "/" && next === "*") {
      const end = source.indexOf("*/", at + 2);
      if (end < 0) fail("comment");
      skipTo(end + 2);
    } else if (char === '"' || char === "'") {
      let end = at + 1;
      while (end < source.length && source[end] !== char) {
        if (source[end] === "\n") fail("string");
        end += source[end] === "\\" ? 2 : 1;
      }
      if (end >= source.length) fail("string");
      push("string", source.slice(at + 1, end));
      skipTo(end + 1);
    } else if (char === "`") {
      at++;
      template();
    } else if (char === "}" && substitutions.length > 0 && substitutions.at(-1) === 0) {
      substitutions.pop();
      at++;
      template();
    } else if (char === "/" && regexpAllowed()) {
      let end = at + 1;
      for (let inClass = false; ; end++) {
        const inner = source[end];
        if (inner === undefined || inner === "\n") fail("regular expression");
        if (inner === "\\") end++;
        else if (inner === "[") inClass = true;
        else if (inner === "]") inClass = false;
        else if (inner === "/" && !inClass) break;
      }
      end++;
      while (/[a-z]/.test(source[end] ?? "")) end++;
      push("regexp", source.slice(at, end));
      at = end;
    } else if (/[0-9]/.test(char) || (char === "." && /[0-9]/.test(next ?? ""))) {
      const match = /^(?:0[xXoObB][0-9a-fA-F_]+n?|[0-9_]*\.?[0-9_]*(?:[eE][+-]?[0-9_]+)?n?)/.exec(source.slice(at, at + 100))!;
      push("number", match[0]);
      at += match[0].length;
    } else if (NAME_START.test(char) || char === "\\") {
      let end = at + 1;
      while (end < source.length && NAME_REST.test(source[end]!)) end++;
      push("name", source.slice(at, end));
      at = end;
    } else {
      if (substitutions.length > 0) {
        if (char === "{") substitutions.push(substitutions.pop()! + 1);
        else if (char === "}") substitutions.push(substitutions.pop()! - 1);
      }
      push("punctuator", char);
      at++;
    }
  }
  if (substitutions.length > 0) fail("template");
  return tokens;
}

/** Every module a file names: static, type-only, side-effect, re-export, `import()`, `typeof import()`, worker URLs. */
export function importsOf(source: string): Import[] {
  const tokens = tokenize(source);
  const found: Import[] = [];
  const text = (i: number): string => (tokens[i]?.kind === "string" ? "" : (tokens[i]?.text ?? ""));
  const string = (i: number): string | null => (tokens[i]?.kind === "string" ? tokens[i]!.text : null);
  /** The specifier after `from`, in a clause that starts at `i` and holds only names, braces, commas, `*` and `as`. */
  const from = (i: number): string | null => {
    for (let depth = 0; i < tokens.length; i++) {
      const token = tokens[i]!;
      if (token.kind === "string") {
        if (depth === 0 && text(i - 1) === "from") return token.text;
        if (depth === 0) return null; // otherwise: import { "a b" as c }
      } else if (token.text === "{") depth++;
      else if (token.text === "}") {
        if (--depth < 0) return null;
      } else if (token.kind !== "name" && token.text !== "," && token.text !== "*") return null;
    }
    return null;
  };
  tokens.forEach((token, i) => {
    const add = (specifier: string | null, form: Import["form"]): void => {
      if (specifier !== null) found.push({ specifier, form, line: token.line });
    };
    if (token.kind !== "name" || text(i - 1) === ".") return;
    if (token.text === "import") {
      if (text(i + 1) === "(") {
        // In a type position the call is followed by `.Name`, or preceded by `typeof`.
        const typeQuery = text(i - 1) === "typeof" || (text(i + 3) === ")" && text(i + 4) === "." && /^[A-Z]/.test(text(i + 5)));
        add(string(i + 2), typeQuery ? "type-query" : "dynamic");
        if (string(i + 2) === null) add("(computed)", "dynamic");
      } else if (text(i + 1) === ".") {
        // import.meta
      } else if (string(i + 1) !== null) add(string(i + 1), "side-effect");
      else if (text(i + 2) === "=" && text(i + 3) === "require") add(string(i + 5), "require");
      else add(from(i + 1), text(i + 1) === "type" && text(i + 2) !== "from" ? "type" : "static");
    } else if (token.text === "export") {
      const typeOnly = text(i + 1) === "type";
      const start = typeOnly ? i + 2 : i + 1;
      if (text(start) === "*" || text(start) === "{") add(from(start), typeOnly ? "type" : "re-export");
    } else if (token.text === "URL" && text(i - 1) === "new" && text(i + 1) === "(") {
      if (text(i + 3) === "," && text(i + 4) === "import" && text(i + 6) === "meta") add(string(i + 2), "url");
    } else if (token.text === "require" && text(i + 1) === "(") add(string(i + 2), "require");
  });
  return found;
}
