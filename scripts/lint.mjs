// npm run lint: oxlint (correctness, suspicious, with type information) and the format check (oxfmt) over the whole tree.
// Exit status 77 (as in Automake): one of them was not run, as the lock file has no binary of it for this platform.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { capture, root } from "./lib/proc.mjs";

/** Both are programs in packages of their own, one for each platform, of which a registry or lock file may lack some. */
const lacksBinary = (name) => {
  const { optionalDependencies } = JSON.parse(readFileSync(join(root, "node_modules", name, "package.json"), "utf8"));
  return !Object.keys(optionalDependencies).some((binary) => existsSync(join(root, "node_modules", binary)));
};

const jobs = [
  ["oxlint", ["node_modules/oxlint/bin/oxlint", "--type-aware", "--deny-warnings", ...process.argv.slice(2)]],
  ["oxfmt", ["node_modules/oxfmt/bin/oxfmt", "--list-different"]],
];
for (const [name, args] of jobs) {
  if (lacksBinary(name)) {
    console.log(
      `${name}: not run: it has no binary for ${process.platform} ${process.arch} here (npm install --no-save ${name} gets one)`,
    );
    process.exitCode ??= 77;
    continue;
  }
  const done = await capture(process.execPath, args);
  if (done.status === 0) console.log(`${name}: clean`);
  else {
    console.log(`${name}:\n${done.output.replace(/\x1b\[[0-9;]*m/g, "").trimEnd()}`);
    if (name === "oxfmt") console.log("run `npm run format`");
    process.exitCode = 1;
  }
}
