/** For those who look for what went wrong: the graph with its permissions, the content of dirty bitmaps. */
import { BlockError } from "../../base/error.js";
import type { Node, NodeUser } from "../../block/node.js";
import { ALL_PERMISSIONS, edgePermissions, permissionNames, type Permissions } from "../../block/permissions.js";
import { array, enumeration, struct, str, uint64 } from "../../qapi/schema.js";
import { bitmapMembers, bitmapOf } from "../bitmap.js";
import { command, type Command } from "../command.js";

const ANY: Permissions = { needed: 0, shared: ALL_PERMISSIONS };

const permission = enumeration("BlockPermission", ["consistent-read", "write", "write-unchanged", "resize"]);
const graphNode = struct("XDbgBlockGraphNode", {
  id: uint64(),
  type: enumeration("XDbgBlockGraphNodeType", ["block-backend", "block-job", "block-driver"]),
  name: str(),
});
const graphEdge = struct("XDbgBlockGraphEdge", {
  parent: uint64(),
  child: uint64(),
  name: str(),
  perm: array(permission),
  "shared-perm": array(permission),
});

export const xDebugQueryBlockGraph: Command = command({
  name: "x-debug-query-block-graph",
  since: "4.0",
  summary: "Devices, nodes and what stands on what, with the permissions of each edge.",
  arguments: null,
  returns: struct("XDbgBlockGraph", { nodes: array(graphNode), edges: array(graphEdge) }),
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core) {
    const ids = new Map<object, number>();
    const idOf = (thing: object): number => {
      const known = ids.get(thing) ?? ids.size + 1;
      ids.set(thing, known);
      return known;
    };
    const nodes: object[] = [];
    const edges: object[] = [];
    const edge = (parent: object, child: Node, name: string, { needed, shared }: { needed: number; shared: number }): void => {
      edges.push({
        parent: idOf(parent),
        child: idOf(child),
        name,
        perm: permissionNames(needed),
        "shared-perm": permissionNames(shared),
      });
    };
    const named = new Set<NodeUser>();
    for (const { backend, shownName } of core.devices.values()) {
      named.add(backend);
      nodes.push({ id: idOf(backend), type: "block-backend", name: shownName });
      if (backend.root !== null) edge(backend, backend.root, "root", backend.permissions ?? ANY);
    }
    const unnamed = (user: object, node: Node, permissions: Permissions): void => {
      nodes.push({ id: idOf(user), type: "block-backend", name: "" });
      edge(user, node, "root", permissions);
    };
    for (const node of core.nodes.all())
      for (const user of node.users) if (!named.has(user)) unnamed(user, node, user.permissions ?? ANY);
    for (const job of core.jobs.all()) {
      const claims = core.jobs.claimsOf(job);
      for (const claim of claims) if (claim.name === "root") unnamed(claim, claim.node, claim);
      if (claims.length > 0) nodes.push({ id: idOf(job), type: "block-job", name: job.id });
      for (const claim of claims) if (claim.name !== "root") edge(job, claim.node, claim.name, claim);
    }
    for (const node of core.nodes.all()) {
      nodes.push({ id: idOf(node), type: "block-driver", name: node.nodeName });
      for (const child of [...node.children].reverse()) edge(node, child.node, child.name, edgePermissions(child));
    }
    return { nodes: nodes.reverse(), edges: edges.reverse() };
  },
});

export const xDebugBlockDirtyBitmapSha256: Command = command({
  name: "x-debug-block-dirty-bitmap-sha256",
  since: "2.10",
  summary: "A hash of the bits of a dirty bitmap, in whole 64-bit words.",
  arguments: bitmapMembers,
  returns: struct("BlockDirtyBitmapSha256", { sha256: str() }),
  profiles: ["qemu-7.2"],
  *run(core, args) {
    const bits = yield* bitmapOf(core, args).load();
    const { crypto } = core.environment;
    if (crypto === undefined) throw new BlockError("ERR_UNSUPPORTED", "There is no SHA-256 here");
    const bytes = new Uint8Array(Math.ceil(bits.bits / 64) * 8);
    bits.readBytes(bytes.subarray(0, Math.ceil(bits.bits / 8)), 0);
    const digest = crypto.hash("sha256", bytes);
    return { sha256: [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") };
  },
});
