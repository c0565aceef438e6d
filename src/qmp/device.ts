/** A drive as the monitor sees it: a backend with a name, and what a guest device would add to it. */
import { Backend } from "../block/backend.js";
import type { Node } from "../block/node.js";

export class Device {
  readonly backend: Backend;
  readonly removable: boolean;
  locked = false;
  trayOpen = false;
  ioStatus: "ok" | "failed" | "nospace" | null = null;

  constructor(name: string, node: Node | null, options: { removable?: boolean } = {}) {
    this.backend = new Backend(name, node);
    this.removable = options.removable ?? false;
  }
  get name(): string {
    return this.backend.name;
  }
}
