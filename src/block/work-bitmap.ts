/** Bitmaps without a name, in which jobs and filters keep how far they are: users see them in answers and cannot touch them. */

let latest = 0;
/** Later bitmaps have higher numbers, with names or without: answers have the newest first. */
export const nextBitmapNumber = (): number => ++latest;

export class WorkBitmap {
  readonly number: number = nextBitmapNumber();
  readonly bits: { readonly granularity: number; readonly count: number };
  /** Follows what guests write by itself. */
  readonly recording: boolean;

  constructor(bits: { readonly granularity: number; readonly count: number }, recording: boolean) {
    this.bits = bits;
    this.recording = recording;
  }
}
