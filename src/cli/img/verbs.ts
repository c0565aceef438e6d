/** The verbs that work. */
import { bench } from "./bench.js";
import { bitmap } from "./bitmap.js";
import { check } from "./check.js";
import { compare } from "./compare.js";
import { convert } from "./convert.js";
import { create } from "./create.js";
import { dd } from "./dd.js";
import { info } from "./info.js";
import { map } from "./map.js";
import { measure } from "./measure.js";
import { resize } from "./resize.js";
import { snapshot } from "./snapshot.js";
import type { Verb } from "./verb.js";

export const IMG_VERBS: ReadonlyMap<string, Verb> = new Map(Object.entries({ bench, bitmap, check, compare, convert, create, dd, info, map, measure, resize, snapshot }));
