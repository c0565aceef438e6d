/**
 * A drive as the monitor sees it (QEMU's BlockBackend): a name, a medium or none, and the guest device that stands before it, if
 * one does.
 */
import type { BlockError } from "../base/error.js";
import { Accounting, type AccountingOptions } from "../block/accounting.js";
import { Backend } from "../block/backend.js";
import type { ErrorAction, ErrorPolicy } from "../block/error-policy.js";
import { GuestDisk, type ErrorPolicies } from "../block/guest-disk.js";
import { skipImplicit } from "../block/graph.js";
import type { OpenFlags } from "../block/context.js";
import type { Machine } from "../block/machine.js";
import type { Node } from "../block/node.js";
import type { DrivePlace } from "./drive-place.js";

/** What a guest device adds to its drive. */
export interface FrontEnd {
  /** By which commands know it (`id` of eject); null: they do not. */
  readonly id: string | null;
  /** Where it stands in the machine, as `qdev` of query-block shows it. */
  readonly qdev: string;
  /** ID of the device that this one is a part of (virtio-blk-pci has its disk inside); it is not the one with the drive. */
  readonly outer?: string;
  /** Media can be changed (CD-ROM, floppy, SD card). */
  readonly removable: boolean;
  /** It has a tray that opens and closes (CD-ROM). */
  readonly tray: boolean;
  /** It can stop the machine on errors (virtio-blk, SCSI and IDE disks), so that there is an `io-status`. */
  readonly ioStatus: boolean;
}

export interface DeviceOptions {
  /** What happens on errors; QEMU's defaults: report reads, stop on a full disk, report other writes. */
  rerror?: ErrorPolicy | "auto";
  werror?: ErrorPolicy | "auto";
  accounting?: AccountingOptions;
  frontEnd?: FrontEnd;
  /** Of a medium inserted by file name later: write access, detect-zeroes. Taken from the first medium when there is one. */
  readOnly?: boolean;
  /** Where `-drive` has put it. */
  place?: DrivePlace;
  /** Goes away by itself with its front end, as what `-device drive=NODE` makes. */
  anonymous?: boolean;
}

export interface DeviceEvents {
  ioError(device: Device, operation: "read" | "write", action: ErrorAction, error: BlockError): void;
  trayMoved(device: Device): void;
}

export class Device {
  readonly backend: Backend;
  readonly accounting: Accounting;
  readonly place: DrivePlace | null;
  /** Requests of the guest: with its error policies, counted. */
  readonly guest: GuestDisk;
  /** What a medium is opened with that comes by its file name. */
  readonly root: {
    readOnly: boolean;
    detectZeroes: Node["detectZeroes"];
    flags: Pick<OpenFlags, "direct" | "noFlush" | "writethrough">;
  };
  #frontEnd: FrontEnd | null;
  #trayOpen = false;
  #hidden = false;
  /** The guest has locked the medium in. */
  locked = false;
  #ioStatus: "ok" | "failed" | "nospace" = "ok";
  readonly #events: DeviceEvents;

  constructor(name: string, node: Node | null, machine: Machine, events: DeviceEvents, options: DeviceOptions = {}) {
    this.backend = new Backend(name, node);
    this.accounting = new Accounting(options.accounting);
    this.place = options.place ?? null;
    this.#frontEnd = options.frontEnd ?? null;
    this.#events = events;
    this.root = {
      readOnly: options.readOnly ?? false,
      detectZeroes: "off",
      flags: { direct: false, noFlush: false, writethrough: false },
    };
    this.rememberMedium();
    const policies: ErrorPolicies = {
      read: options.rerror === undefined || options.rerror === "auto" ? "report" : options.rerror,
      write: options.werror === undefined || options.werror === "auto" ? "enospc" : options.werror,
    };
    this.guest = new GuestDisk(this.backend, machine, this.accounting, policies, (operation, action, error) => {
      if (action === "stop" && this.hasIoStatus && this.#ioStatus === "ok")
        this.#ioStatus = error.errno === "ENOSPC" ? "nospace" : "failed";
      events.ioError(this, operation, action, error);
    });
  }

  /** What is in the drive, as the user knows it: without the nodes of jobs. */
  get medium(): Node | null {
    const { root } = this.backend;
    return root === null ? null : skipImplicit(root);
  }

  /** "" for a drive that was made for its guest device. */
  get name(): string {
    return this.#hidden ? "" : this.backend.name;
  }
  /** Only its guest device knows it from now on. */
  hide(): void {
    this.#hidden = true;
  }
  get frontEnd(): FrontEnd | null {
    return this.#frontEnd;
  }
  /** For messages: its name, or that of its guest device. */
  get shownName(): string {
    return this.name === "" ? (this.#frontEnd?.id ?? "") : this.name;
  }

  /** Keeps how the medium was opened for the next one. */
  rememberMedium(): void {
    const node = this.backend.root;
    if (node === null) return;
    const { direct, noFlush, writethrough } = node.flags;
    Object.assign(this.root, {
      readOnly: node.staysReadOnly,
      detectZeroes: node.detectZeroes,
      flags: { direct, noFlush, writethrough },
    });
  }

  attach(frontEnd: FrontEnd): void {
    this.#frontEnd = frontEnd;
  }
  detach(): void {
    this.#frontEnd = null;
    this.#trayOpen = false;
    this.locked = false;
  }

  /** A drive that no guest device holds may change its medium. */
  get isRemovable(): boolean {
    return this.#frontEnd?.removable ?? true;
  }
  get hasTray(): boolean {
    return this.#frontEnd?.tray ?? false;
  }
  get isTrayOpen(): boolean {
    return this.hasTray && this.#trayOpen;
  }
  moveTray(open: boolean): void {
    if (!this.hasTray || this.#trayOpen === open) return;
    this.#trayOpen = open;
    this.#events.trayMoved(this);
  }

  get hasIoStatus(): boolean {
    const { read, write } = this.guest.policies;
    return this.#frontEnd?.ioStatus === true && (write === "enospc" || write === "stop" || read === "stop");
  }
  get ioStatus(): "ok" | "failed" | "nospace" | null {
    return this.hasIoStatus ? this.#ioStatus : null;
  }
  resetIoStatus(): void {
    this.#ioStatus = "ok";
  }
}
