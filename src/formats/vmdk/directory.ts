/** Grain directories: where the grain tables of a sparse extent are. */
import type { Miss } from "../../block/driver.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import type { BlockTable } from "../shared/block-table.js";
import { SECTOR } from "./layout.js";
import { TableMiss } from "./grain-tables.js";

/** Where a grain table is. Byte offsets. */
export interface TablePlace {
  /** -1: there is none. */
  offset: number;
  /** The second copy; -1: none that could be trusted. */
  copy: number;
  /** The first copy is damaged: `offset` is that of the second one. */
  damaged: boolean;
}

export interface Directory {
  /** Number of entries. */
  readonly count: number;
  /** From this entry on there are certainly no tables. */
  readonly storedCount: number;
  /** What was found to be damaged until now although all of it can be read; null: nothing. */
  readonly damage: string | null;
  /** The place of a table, or what must be loaded to know it. Throws where an entry contradicts the format. */
  place(index: number): TablePlace | TableMiss;
  load(miss: Miss): Op<void>;
}

class PartMiss extends TableMiss {
  readonly table: BlockTable;
  readonly inner: Miss;
  constructor(table: BlockTable, index: number) {
    const inner = table.miss(index);
    super(inner.offset, index);
    this.table = table;
    this.inner = inner;
  }
}

const NONE: TablePlace = { offset: -1, copy: -1, damaged: false };

/** The directories of hosted and COWD extents: 32-bit sector numbers, in two copies where the header says so. */
export class PlainDirectory implements Directory {
  readonly count: number;
  readonly primary: BlockTable;
  readonly redundant: BlockTable | null;
  readonly #file: Node;
  readonly #tableBytes: number;
  readonly #warn: (message: string) => void;
  #damage: string | null = null;

  constructor(
    file: Node,
    primary: BlockTable,
    redundant: BlockTable | null,
    tableBytes: number,
    warn: (message: string) => void,
  ) {
    this.#file = file;
    this.primary = primary;
    this.redundant = redundant;
    this.count = primary.count;
    this.#tableBytes = tableBytes;
    this.#warn = warn;
  }

  get damage(): string | null {
    return this.#damage;
  }
  /** Says once what is damaged. */
  noteDamage(what: string): void {
    if (this.#damage === null) this.#warn(what);
    this.#damage ??= what;
  }

  get storedCount(): number {
    return Math.max(this.primary.storedCount, this.redundant?.storedCount ?? 0);
  }

  place(index: number): TablePlace | TableMiss {
    const first = entry(this.primary, index);
    if (first === null) return new PartMiss(this.primary, index);
    if (this.redundant === null) return first === 0 ? NONE : { offset: first * SECTOR, copy: -1, damaged: false };
    const second = entry(this.redundant, index);
    if (second === null) return new PartMiss(this.redundant, index);
    if (first === 0 && second === 0) return NONE;
    const sound = second !== first && this.#isSound(second);
    if (this.#isSound(first)) return { offset: first * SECTOR, copy: sound ? second * SECTOR : -1, damaged: false };
    if (sound) {
      this.noteDamage(`The grain directory of '${this.#file.filename}' is damaged: its second copy is used where it is`);
      return { offset: second * SECTOR, copy: -1, damaged: true };
    }
    return first === 0 ? NONE : { offset: first * SECTOR, copy: -1, damaged: true };
  }

  /** Whether a table can be at this sector: behind the header and inside the file. */
  #isSound(sector: number): boolean {
    return sector > 0 && sector * SECTOR + this.#tableBytes <= this.#file.size;
  }

  *load(miss: Miss): Op<void> {
    const part = miss as PartMiss;
    yield* part.table.load(part.inner);
  }
}

function entry(table: BlockTable, index: number): number | null {
  if (index >= table.storedCount) return 0;
  const page = table.page(index);
  return page === null ? null : page[table.slot(index)]!;
}
