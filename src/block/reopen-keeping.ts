/** Options for reopening a node of which only some change: the others as they are. */
import type { BlockdevOptions } from "./context.js";
import { Node } from "./node.js";
import { isReference } from "./reopen-nodes.js";

const isBag = (value: unknown): value is BlockdevOptions =>
  typeof value === "object" && value !== null && !(value instanceof Node) && !Array.isArray(value);

/** What `reopenNodes` takes, with `change` over the options that the node and its children were opened with. */
export function keepingOptions(node: Node, change: BlockdevOptions): BlockdevOptions {
  const options: BlockdevOptions = { ...node.options, ...change };
  const { cache } = node.options;
  if (isBag(cache) && isBag(change["cache"])) options["cache"] = { ...cache, ...change["cache"] };
  for (const child of node.children) {
    const asked = change[child.name];
    if (asked !== undefined && !isBag(asked)) continue;
    if (isReference(node, child)) options[child.name] = asked ?? child.node.nodeName;
    else options[child.name] = keepingOptions(child.node, asked ?? {});
  }
  return options;
}
