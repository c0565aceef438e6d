/** One run of the qemu-io program: it opens and closes the image that the commands act on. */
import { Backend } from "../../block/backend.js";
import type { Environment } from "../../block/context.js";
import type { Node } from "../../block/node.js";
import { runAsync } from "../../block/op.js";
import { IoSession, type IoOutput } from "../../image/io/session.js";
import type { OpenRequest } from "./opening.js";

export class ProgramSession extends IoSession {
  readonly environment: Environment;
  /** How the node was opened. */
  opened: OpenRequest | null = null;
  /** Images are named by lists of options (`--image-opts`), also to the `open` command. */
  imageOptions = false;
  /** Set by `quit`. */
  done = false;

  constructor(environment: Environment, programName: string, output: IoOutput) {
    super(programName, output);
    this.environment = environment;
  }

  /** Takes over the reference to the node. */
  async use(node: Node): Promise<void> {
    this.backend = new Backend("", node);
    await runAsync(node.unref());
  }

  /** Closes the open file after all requests on it are done. */
  async close(): Promise<void> {
    await this.drain();
    const backend = this.backend;
    this.backend = null;
    if (backend !== null) await runAsync(backend.close());
  }
}
