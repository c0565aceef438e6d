/** `snapshot`: lists, creates, applies and deletes internal snapshots. */
import { closeQuietly, openImage } from "../../image/open.js";
import { applySnapshot, createSnapshot, listSnapshots, removeSnapshot } from "../../image/snapshot.js";
import { UsageError } from "../options.js";
import { snapshotLines } from "../../image/info-text.js";
import { imageSpec, run, type Verb } from "./verb.js";

const ACTIONS = ["list", "apply", "create", "delete"] as const;

export const snapshot: Verb = {
  async run(args, context) {
    const { output } = context;
    const [filename, ...rest] = args.operands;
    const chosen = ACTIONS.filter((action) => args.has(action));
    const times = chosen.reduce((sum, action) => sum + Math.max(1, args.all(action).length), 0);
    if (times > 1) throw new UsageError("Cannot mix '-l', '-a', '-c', '-d'");
    if (filename === undefined || rest.length > 0) throw new UsageError("Expecting one image file name");
    const [action] = chosen;
    const environment = context.environment(args, "sync");
    const write = action !== "list";
    const node = await run(
      openImage(environment, imageSpec(args, filename), { write, unmap: write, forceShare: args.has("force-share") }),
    );
    try {
      const name = action === undefined ? "" : (args.get(action) ?? "");
      if (action === "list") {
        const snapshots = listSnapshots(node);
        if (snapshots.length > 0) for (const line of ["Snapshot list:", ...snapshotLines(snapshots)]) output.line(line);
      } else if (action === "create") await run(createSnapshot(node, name, environment.now()));
      else if (action === "apply") await run(applySnapshot(node, name));
      else if (action === "delete") await run(removeSnapshot(node, name));
    } catch (error) {
      await run(closeQuietly(node));
      throw error;
    }
    await run(node.unref());
    return 0;
  },
};
