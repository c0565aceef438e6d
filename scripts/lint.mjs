// npm run lint: oxlint (correctness, suspicious, with type information) and the format check (oxfmt) over the whole tree.
import { capture } from "./lib/proc.mjs";

const jobs = [
  ["oxlint", ["node_modules/oxlint/bin/oxlint", "--type-aware", "--deny-warnings", ...process.argv.slice(2)]],
  ["oxfmt", ["node_modules/oxfmt/bin/oxfmt", "--list-different"]],
];
for (const [name, args] of jobs) {
  const done = await capture(process.execPath, args);
  if (done.status === 0) console.log(`${name}: clean`);
  else {
    console.log(`${name}:\n${done.output.replace(/\x1b\[[0-9;]*m/g, "").trimEnd()}`);
    if (name === "oxfmt") console.log("run `npm run format`");
    process.exitCode = 1;
  }
}
