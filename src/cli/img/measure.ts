/** `measure`: how large a new image would be. */
import { loadSnapshot } from "../../image/snapshot-load.js";
import { measureImage } from "../../image/measure.js";
import { closeQuietly, openImage } from "../../image/open.js";
import { hasHelpOption } from "../../qapi/options.js";
import type { Output } from "../output.js";
import { imageSizeArgument } from "./create.js";
import { printOptionHelp } from "./option-help.js";
import { imageSpec, optionList, optionsOf, outputFormat, printJson, refuse, run, type Verb } from "./verb.js";

/** A snapshot named by id or name ("snapshot.name=a") names nothing else. */
function checkSnapshotArgument(text: string | undefined, output: Output): void {
  if (text === undefined || !text.startsWith("snapshot.")) return;
  for (const part of text.split(",")) {
    const key = part.split("=")[0]!;
    if (key === "snapshot.id" || key === "snapshot.name") continue;
    output.error(`Invalid parameter '${key}'`);
    throw refuse(`Failed in parsing snapshot param '${text}'`);
  }
}

/** All digits: raw images beyond 2^53 bytes can be measured, though not made. */
const exact = (size: number): number | bigint => (Number.isSafeInteger(size) ? size : BigInt(size));

export const measure: Verb = {
  async run(args, context) {
    const { output } = context;
    const form = outputFormat(args);
    const list = optionList(args);
    checkSnapshotArgument(args.get("snapshot"), output);
    const sizeText = args.get("size");
    // What is too large is for the format to say.
    const size = sizeText === undefined ? undefined : imageSizeArgument(sizeText, 2 ** 63);
    const format = args.get("output-format") ?? "raw";
    const [filename, ...rest] = args.operands;
    if (rest.length > 0) throw refuse("At most one filename argument is allowed.");
    if (args.has("image-opts") && filename === undefined) throw refuse("--image-opts, -f, and -l require a filename argument.");
    if (filename === undefined && (args.has("format") || args.has("snapshot")))
      throw refuse("--image-opts, -f, and -l require a filename argument.");
    if (filename === undefined && size === undefined) throw refuse("Either --size N or one filename must be specified.");
    if (filename !== undefined && size !== undefined) throw refuse("--size N cannot be used together with a filename.");
    const environment = context.environment(args, "sync");
    if (list !== undefined && hasHelpOption(list)) {
      printOptionHelp(environment, output, format, filename);
      return 0;
    }
    const node =
      filename === undefined
        ? null
        : await run(openImage(environment, imageSpec(args, filename), { forceShare: args.has("force-share") }));
    try {
      const snapshot = args.get("snapshot");
      if (node !== null && snapshot !== undefined) await run(loadSnapshot(node, snapshot));
      let options;
      try {
        options = optionsOf(list);
        const result = await run(
          measureImage(environment, {
            format,
            options,
            ...(node === null ? {} : { source: node }),
            ...(size === undefined ? {} : { size }),
          }),
        );
        if (form === "json") {
          printJson(output, {
            required: exact(result.required),
            "fully-allocated": exact(result.fullyAllocated),
            ...(result.bitmaps === undefined ? {} : { bitmaps: result.bitmaps }),
          });
        } else {
          output.line(`required size: ${exact(result.required)}`);
          output.line(`fully allocated size: ${exact(result.fullyAllocated)}`);
          if (result.bitmaps !== undefined) output.line(`bitmaps size: ${result.bitmaps}`);
        }
      } catch (error) {
        if (error instanceof Error && error.message.startsWith("Invalid parameter '")) {
          output.error(error.message);
          throw refuse(`Invalid options for file format '${format}'`);
        }
        throw error;
      }
    } finally {
      if (node !== null) await run(closeQuietly(node));
    }
    return 0;
  },
};
