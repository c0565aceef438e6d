/** `-o help`: what a format understands. */
import type { Environment } from "../../block/context.js";
import { createOptionHelp, formatForCreate, protocolForCreate } from "../../image/create-options.js";
import type { Output } from "../output.js";

export function printOptionHelp(environment: Environment, output: Output, format: string, filename: string | undefined): void {
  const driver = formatForCreate(environment, format);
  const protocol = filename === undefined ? null : protocolForCreate(environment, filename);
  output.line(protocol === null ? `Supported ${format} options:` : "Supported options:");
  for (const line of createOptionHelp(driver, protocol)) output.line(line);
  if (protocol === null) {
    output.line();
    output.line("The protocol level may support further options.");
    output.line("Specify the target filename to include those options.");
  }
}
