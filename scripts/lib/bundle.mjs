// What every esbuild bundle of this project shares: flavours of WebAssembly delivery and what stays outside.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./proc.mjs";

/**
 * workerd compiles no WebAssembly from bytes: `x.inline.ts` (bytes in the bundle) is replaced by its neighbour
 * `x.workerd.ts` (static import), and the `.wasm` import stays in the output as `wasmPath`.
 */
export function workerdPlugin(wasmPath) {
  return {
    name: "workerd",
    setup(build) {
      build.onResolve({ filter: /\.inline\.js$/ }, async (args) => {
        if (args.pluginData === "asked") return undefined;
        const other = args.path.replace(/\.inline\.js$/, ".workerd.js");
        if (!existsSync(join(args.resolveDir, other.replace(/\.js$/, ".ts")))) return undefined;
        return build.resolve(other, { resolveDir: args.resolveDir, kind: args.kind, pluginData: "asked" });
      });
      build.onResolve({ filter: /\.wasm$/ }, () => ({ path: wasmPath, external: true }));
    },
  };
}

/**
 * `.wasm` files as hexadecimal digits in the bundle: a transfer's compression finds the repeated instructions in them, which
 * base64 hides (4.2 against 5.3 KB of gzip for the whole kernel).
 */
export const wasmAsHexPlugin = {
  name: "wasm-as-hex",
  setup(build) {
    build.onLoad({ filter: /\.wasm$/ }, ({ path }) => ({
      contents: `
        function bytesOf(digits) {
          const bytes = new Uint8Array(digits.length / 2);
          for (let i = 0; i < bytes.length; i++) bytes[i] = parseInt(digits.substr(2 * i, 2), 16);
          return bytes;
        }
        export default /* @__PURE__ */ bytesOf("${readFileSync(path, "hex")}");`,
    }));
  },
};

const manifest = () => JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

/** Names of npm packages that a bundle leaves to the installer: the optional ones, or every runtime dependency. */
export function externals(which) {
  const { dependencies = {}, optionalDependencies = {} } = manifest();
  const names = Object.keys(which === "optional" ? optionalDependencies : { ...dependencies, ...optionalDependencies });
  return names.flatMap((name) => [name, `${name}/*`]);
}

/** Options every bundle has. `.wasm` is inlined as bytes unless a plugin takes it away first. */
export const common = {
  absWorkingDir: root,
  bundle: true,
  format: "esm",
  target: "es2022",
  loader: { ".wasm": "binary" },
  legalComments: "none",
  logLevel: "warning",
};

/** Replaces `uvu` by the collecting twin, so that a uvu test file runs inside a browser worker, workerd, Deno or Bun. */
export const portableUvuPlugin = {
  name: "portable-uvu",
  setup(build) {
    build.onResolve({ filter: /^uvu$/ }, () => ({ path: join(root, "test/support/portable-uvu.ts") }));
  },
};

/** `blockcore/…` in a portable test is the built package, in the flavour that the runtime's conditions choose. */
const builtPackagePlugin = (workerd) => ({
  name: "built-package",
  setup(build) {
    build.onResolve({ filter: /^blockcore(\/|$)/ }, ({ path }) => {
      const entry = manifest().exports[path === "blockcore" ? "." : `./${path.slice("blockcore/".length)}`];
      return entry ? { path: join(root, (workerd && entry.workerd) || entry.default) } : undefined;
    });
  },
});

/** Bundles one portable uvu test file together with the code that runs it; `target` decides how results leave. */
export async function bundlePortable(file, { outfile, runner, workerdWasm = null }) {
  const { build } = await import("esbuild");
  await build({
    ...common,
    stdin: {
      contents: `import ${JSON.stringify(`./${file}`)}; export { default } from ${JSON.stringify(`./${runner}`)};`,
      resolveDir: root,
      sourcefile: "portable-entry.ts",
      loader: "ts",
    },
    outfile,
    platform: "neutral",
    mainFields: ["module", "main"],
    conditions: workerdWasm ? ["workerd", "import"] : ["import"],
    external: ["node:*", ...externals("optional")],
    sourcemap: "inline",
    ignoreAnnotations: true, // the test file is imported for its effects, which package.json says src has not
    plugins: [portableUvuPlugin, builtPackagePlugin(workerdWasm !== null), ...(workerdWasm ? [workerdPlugin(workerdWasm)] : [])],
  });
}
