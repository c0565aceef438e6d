/** Who may use a server: `authz-simple` and `authz-list`, asked with the distinguished name of a client's certificate. */
import { BlockError } from "../base/error.js";

export interface AuthorizationRule {
  match: string;
  policy: "allow" | "deny";
  /** `glob`: `*`, `?` and `[…]` as in file names. */
  format: "exact" | "glob";
}

export class Authorization {
  readonly #rules: readonly { test: (identity: string) => boolean; allow: boolean }[];
  readonly #otherwise: boolean;

  /** The first rule that matches decides, else `policy`. */
  constructor(rules: readonly AuthorizationRule[], policy: "allow" | "deny") {
    this.#rules = rules.map(({ match, policy: verdict, format }) => {
      const pattern = format === "glob" ? globPattern(match) : null;
      return { test: (identity) => (pattern === null ? identity === match : pattern.test(identity)), allow: verdict === "allow" };
    });
    this.#otherwise = policy === "allow";
  }

  allows(identity: string): boolean {
    return this.#rules.find(({ test }) => test(identity))?.allow ?? this.#otherwise;
  }
}

const MAX_PATTERN = 1024;
/** One step of a pattern: any run of characters, or one character. */
type Step = "*" | ((char: string) => boolean);

/** Steps back to the last star only, so that no pattern takes exponential time. */
function globPattern(glob: string): { test(text: string): boolean } {
  if (glob.length > MAX_PATTERN) throw new BlockError("ERR_INVALID_ARGUMENT", "The pattern of an authorization rule is too long");
  const steps = [...glob.matchAll(/\[[!^]?\]?[^\]]*\]|\\.|[^]/g)].map(([token]) => stepOf(token));
  return {
    test(text) {
      let at = 0;
      let step = 0;
      let star = -1;
      let mark = 0;
      while (at < text.length) {
        const next = steps[step];
        if (next === "*") {
          star = step++;
          mark = at;
        } else if (next !== undefined && next(text[at]!)) {
          step++;
          at++;
        } else if (star >= 0) {
          step = star + 1;
          at = ++mark;
        } else return false;
      }
      return steps.slice(step).every((rest) => rest === "*");
    },
  };
}

function stepOf(token: string): Step {
  if (token === "*") return "*";
  if (token === "?") return () => true;
  if (token.length > 2 && token.startsWith("[")) {
    const negated = token[1] === "!" || token[1] === "^";
    const members = token.slice(negated ? 2 : 1, -1);
    return (char) => isMember(char, members) !== negated;
  }
  const literal = token.length === 2 ? token[1]! : token;
  return (char) => char === literal;
}

function isMember(char: string, members: string): boolean {
  for (let i = 0; i < members.length; i++) {
    const isRange = members[i + 1] === "-" && i + 2 < members.length;
    if (isRange ? char >= members[i]! && char <= members[i + 2]! : char === members[i]) return true;
    if (isRange) i += 2;
  }
  return false;
}
