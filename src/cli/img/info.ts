/** `info`: what an image is. */
import { imageInfo, imageInfoChain } from "../../image/info.js";
import { openImage, usingImage } from "../../image/open.js";
import { UsageError } from "../options.js";
import { infoLines } from "../../image/info-text.js";
import { imageSpec, outputFormat, printJson, run, type Verb } from "./verb.js";

export const info: Verb = {
  async run(args, context) {
    const { output } = context;
    const form = outputFormat(args);
    const [filename, ...rest] = args.operands;
    if (filename === undefined || rest.length > 0) throw new UsageError("Expecting one image file name");
    const environment = context.environment(args, "sync");
    const spec = imageSpec(args, filename);
    const flags = { forceShare: args.has("force-share"), noBacking: true, noIO: true };
    const chain = args.has("backing-chain");
    const images = chain
      ? await run(imageInfoChain(environment, spec, flags))
      : [await run(usingImage(await run(openImage(environment, spec, flags)), imageInfo))];
    if (form === "json") printJson(output, chain ? images : images[0]!);
    else output.print(`${images.map((image) => infoLines(image).join("\n")).join("\n\n")}\n`);
    return 0;
  },
};
