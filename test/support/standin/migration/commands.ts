/** Migration in both monitors. */
import { BlockError } from "../../../../src/base/error.js";
import { activate } from "../../../../src/block/activation.js";
import { any, array, bool, enumeration, int64, optional, str, struct } from "../../../../src/qapi/schema.js";
import { command, type Command } from "../../../../src/qmp/command.js";
import { cont, stop } from "../../../../src/qmp/commands/machine.js";
import { flag, text, word, type HmpCommand, type HumanCommands } from "../../../../src/qmp/hmp/command.js";
import type { Migration } from "./migration.js";
import { CAPABILITIES, type Capability, type NodeAlias } from "./settings.js";

const NUMBERS = [
  "announce-initial",
  "announce-max",
  "announce-rounds",
  "announce-step",
  "cpu-throttle-initial",
  "cpu-throttle-increment",
  "max-bandwidth",
  "max-postcopy-bandwidth",
  "downtime-limit",
  "multifd-channels",
  "xbzrle-cache-size",
] as const;

const mapping = array(
  struct("BitmapMigrationNodeAlias", {
    "node-name": str(),
    alias: str(),
    bitmaps: array(
      struct("BitmapMigrationBitmapAlias", {
        name: str(),
        alias: str(),
        transform: optional(struct("BitmapMigrationBitmapAliasTransform", { persistent: optional(bool()) })),
      }),
    ),
  }),
);

/** `migration`: asked for when a command runs. */
export function migrationCommands(migration: () => Migration): Command[] {
  const simple = (name: string, since: string, summary: string, run: () => void): Command =>
    command({
      name,
      since,
      summary,
      arguments: null,
      returns: null,
      // eslint-disable-next-line require-yield
      *run() {
        run();
      },
    });
  return [
    command({
      name: "migrate",
      since: "0.14",
      summary: "Starts a migration.",
      arguments: struct("migrate-arg", {
        uri: str(),
        blk: optional(bool()),
        inc: optional(bool()),
        detach: optional(bool()),
        resume: optional(bool()),
      }),
      returns: null,
      // eslint-disable-next-line require-yield
      *run(_core, { uri, blk, inc }) {
        migration().start(uri, blk === true || inc === true);
      },
    }),
    command({
      name: "migrate-incoming",
      since: "2.3",
      summary: "Starts to wait for a migration that was deferred.",
      arguments: struct("migrate-incoming-arg", { uri: str() }),
      returns: null,
      // eslint-disable-next-line require-yield
      *run(_core, { uri }) {
        migration().incoming(uri);
      },
    }),
    command({
      name: "migrate-set-capabilities",
      since: "1.2",
      summary: "What a migration may do.",
      arguments: struct("migrate-set-capabilities-arg", {
        capabilities: array(
          struct("MigrationCapabilityStatus", { capability: enumeration("MigrationCapability", CAPABILITIES), state: bool() }),
        ),
      }),
      returns: null,
      // eslint-disable-next-line require-yield
      *run(_core, { capabilities }) {
        if (migration().isUnderWay) throw new BlockError("ERR_BUSY", "There's a migration process in progress");
        const known = migration().settings.capabilities;
        for (const { capability, state } of capabilities) {
          if (state) known.add(capability);
          else known.delete(capability);
        }
      },
    }),
    command({
      name: "query-migrate-capabilities",
      since: "1.2",
      summary: "What a migration may do.",
      arguments: null,
      returns: any(),
      // eslint-disable-next-line require-yield
      *run() {
        const known = migration().settings.capabilities;
        return CAPABILITIES.map((capability) => ({ state: known.has(capability), capability }));
      },
    }),
    command({
      name: "migrate-set-parameters",
      since: "2.4",
      summary: "How a migration goes about it.",
      arguments: struct("MigrateSetParameters", {
        ...Object.fromEntries(NUMBERS.map((name) => [name, optional(int64())])),
        "block-bitmap-mapping": optional(mapping),
      }),
      returns: null,
      // eslint-disable-next-line require-yield
      *run(_core, args) {
        const { settings } = migration();
        const { "block-bitmap-mapping": aliases, ...rest } = args;
        if (aliases !== undefined) settings.setMapping(aliases as readonly NodeAlias[]);
        for (const [name, value] of Object.entries(rest)) settings.numbers.set(name, Number(value));
      },
    }),
    command({
      name: "query-migrate",
      since: "0.14",
      summary: "How the migration is getting on.",
      arguments: null,
      returns: any(),
      // eslint-disable-next-line require-yield
      *run() {
        const { status, failure } = migration();
        return status === "none" ? {} : { status, ...(failure === null ? {} : { "error-desc": failure }) };
      },
    }),
    simple("migrate-start-postcopy", "2.5", "Switches to postcopy.", () => migration().startPostcopy()),
    simple("migrate_cancel", "0.14", "Cancels the migration.", () => migration().cancel()),
    command({
      name: "migrate-continue",
      since: "2.11",
      summary: "Goes on after a pause.",
      arguments: struct("migrate-continue-arg", { state: str() }),
      returns: null,
      // eslint-disable-next-line require-yield
      *run(_core, { state }) {
        migration().continue(state);
      },
    }),
    {
      ...cont,
      *run(core, args) {
        if (core.machine.state === "finish-migrate") throw new BlockError("ERR_BUSY", "Migration is not finalized yet");
        // What has gone elsewhere is taken back.
        yield* activate(core.nodes.all());
        if (core.machine.state === "inmigrate") migration().autostart = true;
        else yield* cont.run(core, args);
        return undefined;
      },
    },
    {
      ...stop,
      *run(core, args) {
        if (core.machine.state === "inmigrate") migration().autostart = false;
        else yield* stop.run(core, args);
        return undefined;
      },
    },
  ];
}

/** The same for people. */
export function humanMigrationCommands(migration: () => Migration): HumanCommands {
  const plain = (name: string, qmp: string, summary: string): HmpCommand => ({
    name,
    parameters: [],
    usage: "",
    summary,
    *run(core) {
      yield* core.perform(qmp);
    },
  });
  return {
    commands: [
      {
        name: "migrate",
        parameters: [flag("d", "detach"), flag("b", "blk"), flag("i", "inc"), flag("r", "resume"), word("uri")],
        usage: "[-d] [-b] [-i] [-r] uri",
        summary: "migrate to URI (using -d to not wait for completion)",
        *run(core, _out, args) {
          yield* core.perform("migrate", { uri: text(args, "uri"), blk: args["blk"] === true, inc: args["inc"] === true });
        },
      },
      {
        name: "migrate_incoming",
        parameters: [word("uri")],
        usage: "uri",
        summary: "Continue an incoming migration from an -incoming defer",
        *run(core, _out, args) {
          yield* core.perform("migrate-incoming", { uri: text(args, "uri") });
        },
      },
      {
        name: "migrate_set_capability",
        parameters: [word("capability"), word("state")],
        usage: "capability state",
        summary: "Enable/Disable the usage of a capability for migration",
        *run(core, _out, args) {
          const name = text(args, "capability");
          if (!CAPABILITIES.includes(name as Capability))
            throw new BlockError("ERR_INVALID_ARGUMENT", `invalid parameter value: ${name}`);
          yield* core.perform("migrate-set-capabilities", {
            capabilities: [{ capability: name, state: text(args, "state") === "on" }],
          });
        },
      },
      {
        name: "migrate_set_parameter",
        parameters: [word("parameter"), word("value")],
        usage: "parameter value",
        summary: "Set the parameter for migration",
        // eslint-disable-next-line require-yield
        *run(_core, _out, args) {
          const name = text(args, "parameter");
          if (!(NUMBERS as readonly string[]).includes(name))
            throw new BlockError("ERR_INVALID_ARGUMENT", `invalid parameter value: ${name}`);
          migration().settings.numbers.set(name, Number.parseFloat(text(args, "value")));
        },
      },
      plain("migrate_cancel", "migrate_cancel", "cancel the current VM migration"),
      plain("migrate_start_postcopy", "migrate-start-postcopy", "switch to postcopy mode"),
    ],
    info: [
      {
        name: "migrate",
        parameters: [],
        usage: "",
        summary: "show migration status",
        // eslint-disable-next-line require-yield
        *run(_core, out) {
          const { status, failure } = migration();
          if (status !== "none") out.print(`Migration status: ${status}${failure === null ? "" : ` (${failure})`}\n`);
        },
      },
      {
        name: "migrate_capabilities",
        parameters: [],
        usage: "",
        summary: "show current migration capabilities",
        // eslint-disable-next-line require-yield
        *run(_core, out) {
          const known = migration().settings.capabilities;
          for (const name of CAPABILITIES) out.print(`${name}: ${known.has(name) ? "on" : "off"}\n`);
        },
      },
      {
        name: "migrate_parameters",
        parameters: [],
        usage: "",
        summary: "show current migration parameters",
        // eslint-disable-next-line require-yield
        *run(_core, out) {
          const { numbers, mapping: aliases } = migration().settings;
          for (const [name, value] of numbers) out.print(`${name}: ${value}\n`);
          if (aliases === null) return;
          out.print("block-bitmap-mapping:\n");
          for (const { "node-name": node, alias, bitmaps } of aliases) {
            out.print(`  '${node}' -> '${alias}'\n`);
            for (const bitmap of bitmaps) out.print(`    '${bitmap.name}' -> '${bitmap.alias}'\n`);
          }
        },
      },
    ],
  };
}
