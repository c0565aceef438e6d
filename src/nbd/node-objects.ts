/** User-creatable objects that a platform makes: TLS credentials and authorization. One maker for the command line and for QMP. */
import { BlockError } from "../base/error.js";
import { takeEnum, takeString } from "../block/take.js";
import { Authorization, type AuthorizationRule } from "./authorization.js";
import { makeTlsCredentials, type FindSecret } from "./node-tls.js";

const POLICIES = ["allow", "deny"] as const;

export const PLATFORM_OBJECTS: readonly string[] = [
  "tls-creds-anon",
  "tls-creds-psk",
  "tls-creds-x509",
  "authz-list",
  "authz-simple",
];

/** @param properties nested, without `qom-type` and `id`; all must be known */
export function makePlatformObject(type: string, properties: Readonly<Record<string, unknown>>, findSecret: FindSecret): unknown {
  const bag = { ...properties };
  const made = make(type, bag, findSecret);
  for (const name of Object.keys(bag)) throw new BlockError("ERR_INVALID_ARGUMENT", `Parameter '${name}' is unexpected`);
  return made;
}

function make(type: string, bag: Record<string, unknown>, findSecret: FindSecret): unknown {
  switch (type) {
    case "authz-simple": {
      const match = takeString(bag, "identity");
      if (match === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'identity' is missing");
      return new Authorization([{ match, policy: "allow", format: "exact" }], "deny");
    }
    case "authz-list": {
      const policy = takeEnum(bag, "policy", POLICIES) ?? "deny";
      const given = bag["rules"];
      delete bag["rules"];
      return new Authorization(takeRules(given), policy);
    }
    default:
      return makeTlsCredentials(type, bag, findSecret);
  }
}

function takeRules(given: unknown): AuthorizationRule[] {
  if (given === undefined) return [];
  if (!Array.isArray(given)) throw new BlockError("ERR_INVALID_ARGUMENT", "Invalid parameter type for 'rules', expected: array");
  return given.map((each: unknown, i) => {
    if (typeof each !== "object" || each === null)
      throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid parameter type for 'rules[${i}]', expected: object`);
    const bag = { ...(each as Record<string, unknown>) };
    const match = takeString(bag, "match");
    const policy = takeEnum(bag, "policy", POLICIES);
    if (match === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", `Parameter 'rules[${i}].match' is missing`);
    if (policy === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", `Parameter 'rules[${i}].policy' is missing`);
    return { match, policy, format: takeEnum(bag, "format", ["exact", "glob"]) ?? "exact" };
  });
}
