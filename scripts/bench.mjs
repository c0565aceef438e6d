// npm run bench [-- filter …]: sets up, builds and runs the programs of bench/, one after another (they measure time).
import { spawnSync } from "node:child_process";
import { root, walk } from "./lib/proc.mjs";
import { setupAndBuild } from "./setup.mjs";

const filters = process.argv.slice(2);
setupAndBuild();
const files = walk("bench", (file) => /^bench\/[^/]+\.mjs$/.test(file)).filter(
  (file) => filters.length === 0 || filters.some((part) => file.includes(part)),
);
if (files.length === 0) {
  console.error("no program of bench/ has that name");
  process.exitCode = 1;
}
for (const file of files) {
  console.log(`\n== ${file}`);
  const done = spawnSync(process.execPath, [file], { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  if (done.status !== 0) process.exitCode = 1;
}
