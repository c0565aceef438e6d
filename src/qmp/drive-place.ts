/** Where a drive stands in the machine: `if`, `bus`, `unit` or `index` of `-drive`, and the name that comes of it. */
import { BlockError } from "../base/error.js";
import { takeEnum, takeSize } from "../block/take.js";

const INTERFACES = ["none", "ide", "scsi", "floppy", "pflash", "mtd", "sd", "virtio", "xen"] as const;
export type DriveInterface = (typeof INTERFACES)[number];

export interface DrivePlace {
  readonly interface: DriveInterface;
  readonly bus: number;
  readonly unit: number;
  readonly media: "disk" | "cdrom";
}

/** Drives on one bus; 0: there is one bus with any number. */
const MOST: Readonly<Record<DriveInterface, number>> = {
  none: 0,
  ide: 2,
  scsi: 7,
  floppy: 0,
  pflash: 0,
  mtd: 0,
  sd: 0,
  virtio: 0,
  xen: 0,
};

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

/** Takes the options of a place out of `bag`; where they leave it open it is the first free one. */
export function takePlace(bag: Record<string, unknown>, taken: readonly DrivePlace[]): DrivePlace {
  const type = takeEnum(bag, "if", INTERFACES) ?? "ide";
  const media = takeEnum(bag, "media", ["disk", "cdrom"]) ?? "disk";
  const index = takeSize(bag, "index");
  const givenBus = takeSize(bag, "bus");
  const givenUnit = takeSize(bag, "unit");
  const most = MOST[type];
  if (index !== undefined && (givenBus !== undefined || givenUnit !== undefined))
    throw fail("index cannot be used with bus and unit");
  let bus = givenBus ?? 0;
  let unit = givenUnit ?? null;
  if (index !== undefined) {
    bus = most === 0 ? 0 : Math.floor(index / most);
    unit = most === 0 ? index : index % most;
  }
  const isTaken = (at: number): boolean =>
    taken.some((place) => place.interface === type && place.bus === bus && place.unit === at);
  if (unit === null) {
    for (unit = 0; isTaken(unit);) {
      unit++;
      if (most > 0 && unit >= most) {
        unit -= most;
        bus++;
      }
    }
  } else {
    if (most > 0 && unit >= most) throw fail(`unit ${unit} too big (max is ${most - 1})`);
    if (isTaken(unit)) throw fail(`drive with bus=${bus}, unit=${unit} (index=${bus * most + unit}) exists`);
  }
  return { interface: type, bus, unit, media };
}

/** What a drive is called that has no `id`: `ide0-hd1`, `virtio0`. */
export function nameOfPlace(place: DrivePlace): string {
  const { interface: type, bus, unit } = place;
  const medium = type === "ide" || type === "scsi" ? (place.media === "cdrom" ? "-cd" : "-hd") : "";
  return `${type}${MOST[type] > 0 ? bus : ""}${medium}${unit}`;
}
