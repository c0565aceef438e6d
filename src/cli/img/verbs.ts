/** The verbs that work. */
import { amend } from "./amend.js";
import { bench } from "./bench.js";
import { bitmap } from "./bitmap.js";
import { check } from "./check.js";
import { commit } from "./commit.js";
import { compare } from "./compare.js";
import { convert } from "./convert.js";
import { create } from "./create.js";
import { dd } from "./dd.js";
import { info } from "./info.js";
import { map } from "./map.js";
import { measure } from "./measure.js";
import { rebase } from "./rebase.js";
import { resize } from "./resize.js";
import { snapshot } from "./snapshot.js";
import type { Verb } from "./verb.js";

export const IMG_VERBS: ReadonlyMap<string, Verb> = new Map(
  Object.entries({
    amend,
    bench,
    bitmap,
    check,
    commit,
    compare,
    convert,
    create,
    dd,
    info,
    map,
    measure,
    rebase,
    resize,
    snapshot,
  }),
);
