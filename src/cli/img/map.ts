/** `map`: where an image's data is. */
import { parseSizeArgument } from "../../base/size.js";
import type { MapEntry } from "../../block/types.js";
import { mapImage } from "../../image/map.js";
import { openImage, usingImage } from "../../image/open.js";
import { UsageError } from "../options.js";
import { imageSpec, outputFormat, refuse, run, type Verb } from "./verb.js";

const hex = (value: number): string => (value === 0 ? "0" : `0x${value.toString(16)}`).padEnd(16);

function jsonEntry(entry: MapEntry): string {
  const { start, length, depth, present, zero, data, offset } = entry;
  const at = offset === undefined ? "" : `, "offset": ${offset}`;
  return `{ "start": ${start}, "length": ${length}, "depth": ${depth}, "present": ${present}, "zero": ${zero}, "data": ${data}${at}}`;
}

export const map: Verb = {
  async run(args, context) {
    const { output } = context;
    const form = outputFormat(args);
    const startText = args.get("start-offset");
    const lengthText = args.get("max-length");
    const start = startText === undefined ? 0 : parseSizeArgument("start offset", startText);
    const length = lengthText === undefined ? undefined : parseSizeArgument("max length", lengthText);
    const [filename, ...rest] = args.operands;
    if (filename === undefined || rest.length > 0) throw new UsageError("Expecting one image file name");
    const environment = context.environment(args, "sync");
    const node = await run(openImage(environment, imageSpec(args, filename), { forceShare: args.has("force-share") }));
    let first = true;
    let pending: string[] = [];
    const emit = (entry: MapEntry): void => {
      if (form === "json") {
        pending.push(`${first ? "[" : ",\n"}${jsonEntry(entry)}`);
      } else if (entry.data && !entry.zero) {
        if (entry.offset === undefined) throw refuse("File contains external, encrypted or compressed clusters.");
        if (entry.filename !== undefined)
          pending.push(`${hex(entry.start)}${hex(entry.length)}${hex(entry.offset)}${entry.filename}\n`);
      }
      first = false;
      if (pending.length >= 1000) flush();
    };
    const flush = (): void => {
      output.print(pending.join(""));
      pending = [];
    };
    if (form === "human") output.print(`${"Offset".padEnd(16)}${"Length".padEnd(16)}${"Mapped to".padEnd(16)}File\n`);
    try {
      await run(
        usingImage(node, (image) =>
          mapImage(image, emit, { start, ...(length === undefined ? {} : { length }), signal: context.signal }),
        ),
      );
    } finally {
      flush();
    }
    if (form === "json") output.print("]\n");
    return 0;
  },
};
