/** One child more or less, for nodes that can have any number (quorum). */
import { BlockError } from "../../base/error.js";
import { drained } from "../../block/graph.js";
import { checkPermissions } from "../../block/permissions.js";
import { optional, str, struct } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

export const xBlockdevChange: Command = command({
  name: "x-blockdev-change",
  since: "2.7",
  summary: "Adds the node `node` to the children of a quorum, or takes the one called `child` off.",
  arguments: struct("x-blockdev-change-arg", { parent: str(), child: optional(str()), node: optional(str()) }),
  returns: null,
  profiles: ["qemu-7.2"],
  *run(core, args) {
    const parent = core.any(args.parent);
    const { impl } = parent;
    if ((args.child === undefined) === (args.node === undefined))
      throw fail(
        args.child === undefined ? "Either child or node must be specified" : "The parameters child and node are in conflict",
      );
    if (args.child !== undefined) {
      const name = args.child;
      if (parent.child(name) === null) throw fail(`Node '${args.parent}' does not have child '${name}'`);
      const remove = impl.shape === "intercept" ? impl.removeChild?.bind(impl) : undefined;
      if (remove === undefined) throw fail(`The node ${parent.nodeName} does not support removing a child`);
      yield* drained(parent, function* () {
        yield* remove(name).unref();
      });
      return;
    }
    const node = core.nodes.find(args.node!);
    if (node === null) throw new BlockError("ERR_NOT_FOUND", `Node '${args.node!}' not found`, { qmpClass: "GenericError" });
    const add = impl.shape === "intercept" ? impl.addChild?.bind(impl) : undefined;
    if (add === undefined) throw fail(`The node ${parent.nodeName} does not support adding a child`);
    if (node.parents.length > 0) throw fail(`The node ${node.nodeName} already has a parent`);
    // eslint-disable-next-line require-yield
    yield* drained(parent, function* () {
      add(node);
    });
    checkPermissions(node);
  },
});
