/**
 * Migration between two stand-ins: the machine stops here, what the block layer holds goes over, and it goes on there. The images are
 * inactivated and activated on the way as by QEMU; there is no RAM. The stream is made of lines of JSON of its own.
 */
import { BlockError, toBlockError } from "../../../../src/base/error.js";
import { activate, inactivate } from "../../../../src/block/activation.js";
import { foreign, runAsync } from "../../../../src/block/op.js";
import type { BlockCore } from "../../../../src/qmp/block-core.js";
import { arrive, collect, content, type Leaving, type SentBitmap } from "./bitmaps.js";
import { listenFor, Outgoing, parseUri, type Uri } from "./channel.js";
import { receivePiece, sendDisks, type SentPiece } from "./disks.js";
import { Settings } from "./settings.js";

export type Status =
  | "none"
  | "setup"
  | "active"
  | "postcopy-active"
  | "pre-switchover"
  | "device"
  | "cancelling"
  | "cancelled"
  | "completed"
  | "failed";

/** How long the RAM that there is not takes where somebody may want to switch to postcopy meanwhile, in milliseconds. */
const RAM_TIME = 700;

/** Drivers of images that are not read again when they are activated by QEMU, as its messages call them. */
const UNABLE: Readonly<Record<string, string>> = {
  parallels: "Parallels",
  qcow: "qcow",
  vdi: "vdi",
  vhdx: "vhdx",
  vmdk: "vmdk",
  vpc: "vpc",
  vvfat: "vvfat (rw)",
};

type Message =
  | { readonly piece: SentPiece }
  | { readonly bitmap: SentBitmap }
  /** The machine is here now; `more`: bitmaps follow. */
  | { readonly machine: string; readonly more: boolean }
  | { readonly end: true };

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

export interface Surroundings {
  /** For error messages of the program. */
  error(message: string): void;
  /** Ends the program with a failure. */
  die(): void;
  print(text: string): void;
}

export class Migration {
  readonly settings: Settings = new Settings();
  /** The machine goes on by itself when it has arrived. */
  autostart = true;
  readonly #core: BlockCore;
  readonly #around: Surroundings;
  #leaving: Status = "none";
  #arriving: Status = "none";
  #failure: string | null = null;
  #incoming: "none" | "deferred" | "started" = "none";
  #channel: Outgoing | null = null;
  #wake: () => void = () => {};
  #wantsPostcopy = false;
  #goesOn = false;

  constructor(core: BlockCore, around: Surroundings) {
    this.#core = core;
    this.#around = around;
  }

  /** Of leaving, or of having come where the machine has not left again. */
  get status(): Status {
    return this.#leaving === "none" ? this.#arriving : this.#leaving;
  }
  get failure(): string | null {
    return this.#failure;
  }
  #become(status: Status): void {
    if (this.#leaving === status) return;
    this.#leaving = status;
    this.#tell(status);
  }
  #arrives(status: Status): void {
    if (this.#arriving === status) return;
    this.#arriving = status;
    this.#tell(status);
  }
  #tell(status: Status): void {
    if (this.settings.capabilities.has("events")) this.#core.emit("MIGRATION", { status });
  }
  get isUnderWay(): boolean {
    return ["setup", "active", "postcopy-active", "pre-switchover", "device", "cancelling"].includes(this.#leaving);
  }

  // ---- leaving ------------------------------------------------------------------------------------------------------

  /** @throws BlockError when it cannot start; what goes wrong later is the status */
  start(text: string, withDisks: boolean): void {
    const { machine, nodes } = this.#core;
    if (this.isUnderWay) throw fail("There's a migration process in progress");
    if (machine.state === "inmigrate") throw fail("Guest is waiting for an incoming migration");
    if (machine.state === "postmigrate") throw fail("Can't migrate the vm that was paused due to previous migration");
    for (const { driver, nodeName, staysReadOnly } of nodes.all()) {
      const format = UNABLE[driver.name];
      if (format !== undefined && !(driver.name === "vvfat" && staysReadOnly))
        throw fail(`The ${format} format used by node '${nodeName}' does not support live migration`);
    }
    const uri = parseUri(text);
    this.#failure = null;
    this.#wantsPostcopy = this.#goesOn = false;
    this.#become("setup");
    void this.#leave(uri, withDisks || this.settings.capabilities.has("block"));
  }

  startPostcopy(): void {
    const { capabilities } = this.settings;
    if (!capabilities.has("postcopy-ram") && !capabilities.has("dirty-bitmaps"))
      throw fail("Enable postcopy with migrate_set_capability before the start of migration");
    if (this.#leaving === "none") throw fail("Postcopy must be started after migration has been started");
    this.#wantsPostcopy = true;
    this.#wake();
  }
  continue(state: string): void {
    if (this.#leaving !== state) throw fail(`Migration not in expected state: ${this.#leaving}`);
    this.#goesOn = true;
    this.#wake();
  }
  cancel(): void {
    if (!this.isUnderWay) return;
    this.#become("cancelling");
    this.#channel?.destroy();
    this.#wake();
  }

  /** Until somebody wakes us, at most so many milliseconds. */
  async #wait(ms: number | null): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (ms !== null) setTimeout(resolve, ms);
    });
  }
  #checkCancelled(): void {
    if (this.#leaving === "cancelling") throw fail("cancelled");
  }

  async #leave(uri: Uri, withDisks: boolean): Promise<void> {
    const { machine } = this.#core;
    const before = machine.state;
    let leaving: Leaving[] = [];
    let stopped = false;
    try {
      const channel = (this.#channel = await Outgoing.open(uri));
      if (this.settings.capabilities.has("dirty-bitmaps")) leaving = collect(this.#core, this.settings);
      for (const { bitmap } of leaving) bitmap.busy = "migration";
      this.#become("active");
      const send = (message: Message): Promise<void> => channel.send(message);
      if (withDisks) await runAsync(sendDisks(this.#core, (piece) => foreign("Sending", null, () => send({ piece }))));
      const { capabilities } = this.settings;
      const mayPostcopy = capabilities.has("postcopy-ram") || capabilities.has("dirty-bitmaps");
      if (mayPostcopy && !this.#wantsPostcopy) await this.#wait(RAM_TIME);
      this.#checkCancelled();
      const postcopy = this.#wantsPostcopy;
      if (capabilities.has("pause-before-switchover") && !postcopy) {
        this.#become("pre-switchover");
        while (!this.#goesOn) {
          await this.#wait(null);
          this.#checkCancelled();
        }
        this.#become("device");
      }
      if (postcopy) this.#become("postcopy-active");
      stopped = true;
      machine.stop("finish-migrate");
      machine.become("finish-migrate");
      await this.#inactivate(leaving);
      const bitmaps = async (): Promise<void> => {
        for (const each of leaving) await send({ bitmap: await runAsync(content(each)) });
      };
      if (!postcopy) await bitmaps();
      await send({ machine: before, more: postcopy });
      if (postcopy) await bitmaps();
      await send({ end: true });
      await channel.end();
      this.#become("completed");
      machine.become("postmigrate");
    } catch (error) {
      this.#channel?.destroy();
      const { message } = toBlockError(error);
      for (const { bitmap } of leaving) bitmap.skipStore = false;
      if (stopped) await this.#takeBack(before);
      if (this.#leaving === "cancelling") this.#become("cancelled");
      else {
        this.#failure = message;
        this.#around.error(message);
        this.#become("failed");
      }
    } finally {
      this.#channel = null;
      for (const { bitmap } of leaving) bitmap.busy = null;
    }
  }

  async #inactivate(leaving: readonly Leaving[]): Promise<void> {
    const core = this.#core;
    for (const { bitmap } of leaving) {
      await runAsync(bitmap.load());
      bitmap.skipStore = true;
    }
    for (const { backend } of core.devices.values()) await runAsync(backend.idle());
    try {
      await runAsync(inactivate(core.nodes.all()));
    } catch {
      throw new BlockError("ERR_BUSY", "bdrv_inactivate_all() failed (-1)");
    }
  }
  /** It did not work out: the machine goes on here. */
  async #takeBack(before: string): Promise<void> {
    const { machine, nodes } = this.#core;
    try {
      await runAsync(activate(nodes.all()));
      if (before === "running") machine.resume();
    } catch (error) {
      this.#around.error(toBlockError(error).message);
    }
  }

  // ---- arriving -----------------------------------------------------------------------------------------------------

  /** `-incoming`: "defer" or where from. */
  expect(text: string): void {
    if (text === "defer") {
      this.#incoming = "deferred";
      return;
    }
    this.#incoming = "started";
    void this.#arrive(parseUri(text));
  }
  /** `migrate-incoming` */
  incoming(text: string): void {
    if (this.#incoming === "none") throw fail("'-incoming' was not specified on the command line");
    if (this.#incoming === "started") throw fail("The incoming migration has already been started");
    const uri = parseUri(text);
    this.#incoming = "started";
    void this.#arrive(uri);
  }

  async #arrive(uri: Uri): Promise<void> {
    this.#arrives("setup");
    const started = (): void => this.#arrives("active");
    let takesBitmaps = true;
    let ended = false;
    let announced = false;
    try {
      for await (const received of listenFor(uri, started)) {
        const message = received as Message;
        if ("piece" in message) {
          if (!announced) this.#around.print("Receiving block device images\n");
          announced = true;
          await runAsync(receivePiece(this.#core, message.piece));
        } else if ("bitmap" in message) {
          if (takesBitmaps) takesBitmaps = await this.#arrived(message.bitmap);
        } else if ("machine" in message) {
          if (announced) this.#around.print("Completed 100 %\r\n");
          if (message.more) this.#arrives("postcopy-active");
          await this.#goOn(message.machine);
        } else ended = true;
      }
      if (!ended) throw new BlockError("ERR_IO", "Input/output error");
      this.#arrives("completed");
    } catch (error) {
      this.#arrives("failed");
      this.#around.error(`load of migration failed: ${toBlockError(error).message}`);
      this.#around.die();
    }
  }

  /** Bitmaps that cannot be placed are lost, the migration goes on. */
  async #arrived(bitmap: SentBitmap): Promise<boolean> {
    try {
      await runAsync(arrive(this.#core, this.settings, bitmap));
      return true;
    } catch (error) {
      this.#around.error(toBlockError(error).message);
      return false;
    }
  }

  async #goOn(state: string): Promise<void> {
    const { machine, nodes } = this.#core;
    let goes = this.autostart && state === "running";
    // Images that nobody writes to may still belong to the other side.
    if (goes || !this.settings.capabilities.has("late-block-activate")) {
      try {
        await runAsync(activate(nodes.all()));
      } catch (error) {
        this.#around.error(toBlockError(error).message);
        goes = false;
      }
    }
    if (goes) machine.resume();
    else machine.become("paused");
  }
}
