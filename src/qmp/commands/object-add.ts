/** Objects: secrets, throttle groups, I/O threads, TLS credentials and who they let in. */
import {
  array,
  bool,
  enumeration,
  int64,
  optional,
  str,
  struct,
  union,
  type AnySchema,
  type Members,
} from "../../qapi/schema.js";
import { command, type Command } from "../command.js";

const limits: Members = Object.fromEntries(
  ["iops-total", "iops-read", "iops-write", "bps-total", "bps-read", "bps-write"].flatMap((name) =>
    ["", "-max", "-max-length"].map((suffix) => [`x-${name}${suffix}`, optional(int64())]),
  ),
);

export const throttleLimits: AnySchema = struct(
  "ThrottleLimits",
  Object.fromEntries(
    [...Object.entries(limits), ["x-iops-size", optional(int64())] as const].map(([name, type]) => [name.slice(2), type]),
  ),
);

const policy: AnySchema = enumeration("QAuthZListPolicy", ["deny", "allow"]);
const tlsMembers: Members = {
  "verify-peer": optional(bool()),
  dir: optional(str()),
  endpoint: optional(enumeration("QCryptoTLSCredsEndpoint", ["client", "server"])),
  priority: optional(str()),
};

export const objectOptions: ReturnType<typeof makeOptions> = makeOptions();
// eslint-disable-next-line @typescript-eslint/explicit-function-return-type
function makeOptions(): ReturnType<typeof union<Members, string, Record<string, never>>> {
  return union(
    "ObjectOptions",
    {
      "qom-type": enumeration("ObjectType", [
        "authz-list",
        "authz-simple",
        "iothread",
        "secret",
        "throttle-group",
        "tls-creds-anon",
        "tls-creds-psk",
        "tls-creds-x509",
      ]),
      id: str(),
    } as Members,
    "qom-type",
    {
      secret: struct("SecretProperties", {
        data: optional(str()),
        file: optional(str()),
        format: optional(enumeration("QCryptoSecretFormat", ["raw", "base64"])),
        keyid: optional(str()),
        iv: optional(str()),
      }),
      "throttle-group": struct("ThrottleGroupProperties", {
        limits: optional(throttleLimits),
        ...limits,
        "x-iops-size": optional(int64()),
      }),
      "authz-list": struct("AuthZListProperties", {
        policy: optional(policy),
        rules: optional(
          array(
            struct("QAuthZListRule", {
              match: str(),
              policy,
              format: optional(enumeration("QAuthZListFormat", ["exact", "glob"])),
            }),
          ),
        ),
      }),
      "authz-simple": struct("AuthZSimpleProperties", { identity: str() }),
      "tls-creds-anon": struct("TlsCredsAnonProperties", tlsMembers),
      "tls-creds-psk": struct("TlsCredsPskProperties", { ...tlsMembers, username: optional(str()) }),
      "tls-creds-x509": struct("TlsCredsX509Properties", {
        ...tlsMembers,
        "sanity-check": optional(bool()),
        passwordid: optional(str()),
      }),
      iothread: struct("IothreadProperties", {
        "poll-max-ns": optional(int64()),
        "poll-grow": optional(int64()),
        "poll-shrink": optional(int64()),
        "aio-max-batch": optional(int64()),
        "thread-pool-min": optional(int64()),
        "thread-pool-max": optional(int64()),
      }),
    },
  ) as never;
}

export const objectAdd: Command = command({
  name: "object-add",
  since: "2.0",
  summary: "Adds a secret, a throttle group or an I/O thread (accepted; there is one thread).",
  arguments: objectOptions as never as ReturnType<typeof struct>,
  returns: null,
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core, args) {
    core.objects.add(args as never);
  },
});

export const objectDel: Command = command({
  name: "object-del",
  since: "2.0",
  summary: "Removes an object.",
  arguments: struct("object-del-arg", { id: str() }),
  returns: null,
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core, args) {
    core.objects.remove(args.id);
  },
});
