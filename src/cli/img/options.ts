/** The command lines of all `qemu-img` 7.2 verbs, and the texts of --help and --version that come from them. */
import { usageLine, type OptionSpec, type VerbSpec } from "../options.js";

const flag = (name: string, short?: string, long?: string): OptionSpec => ({
  name,
  ...(short === undefined ? {} : { short }),
  ...(long === undefined ? {} : { long }),
});
const value = (name: string, argument: string, short?: string, long?: string, extra: Partial<OptionSpec> = {}): OptionSpec => ({
  ...flag(name, short, long),
  argument,
  ...extra,
});

const help = flag("help", "h", "help");
const object = value("object", "objectdef", undefined, "object", { repeat: true });
const imageOpts = flag("image-opts", undefined, "image-opts");
const forceShare = flag("force-share", "U", "force-share");
const quiet = flag("quiet", "q");
const progress = flag("progress", "p");
const format = value("format", "fmt", "f");
const formatLong = value("format", "fmt", "f", "format");
const cache = value("cache", "cache", "t");
const sourceCache = value("source-cache", "src_cache", "T");
const output = value("output", "ofmt", undefined, "output");
const rateLimit = value("rate-limit", "rate_limit", "r");
const optionList = value("options", "options", "o", undefined, { repeat: true });

export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  help,
  flag("version", "V", "version"),
  value("trace", "trace", "T", "trace", { repeat: true }),
];

export const VERBS: readonly VerbSpec[] = [
  {
    verb: "amend",
    summary: "change format options of an image",
    options: [help, object, imageOpts, progress, quiet, format, cache, flag("force", undefined, "force"), optionList],
    operands: "filename",
  },
  {
    verb: "bench",
    summary: "run a simple sequential read or write benchmark",
    options: [
      help,
      value("count", "count", "c"),
      value("depth", "depth", "d"),
      format,
      value("flush-interval", "flush_interval", undefined, "flush-interval"),
      value("aio", "aio", "i"),
      flag("native-aio", "n"),
      flag("no-drain", undefined, "no-drain"),
      value("offset", "offset", "o"),
      value("pattern", "pattern", undefined, "pattern"),
      quiet,
      value("buffer-size", "buffer_size", "s"),
      value("step-size", "step_size", "S"),
      cache,
      flag("write", "w"),
      forceShare,
      imageOpts,
    ],
    operands: "filename",
  },
  {
    verb: "bitmap",
    summary: "add, remove, clear, enable, disable or merge persistent dirty bitmaps",
    options: [
      help,
      value("merge", "SOURCE", undefined, "merge", { repeat: true }),
      flag("add", undefined, "add"),
      flag("remove", undefined, "remove"),
      flag("clear", undefined, "clear"),
      flag("enable", undefined, "enable"),
      flag("disable", undefined, "disable"),
      value("source-file", "source_file", "b", "source-file"),
      value("source-format", "source_fmt", "F", "source-format"),
      value("granularity", "granularity", "g", "granularity"),
      object,
      imageOpts,
      format,
    ],
    operands: "filename bitmap",
  },
  {
    verb: "check",
    summary: "check the consistency of an image",
    options: [
      help,
      object,
      imageOpts,
      quiet,
      formatLong,
      output,
      value("repair", "leaks|all", "r", "repair"),
      sourceCache,
      forceShare,
    ],
    operands: "filename",
  },
  {
    verb: "commit",
    summary: "write an image's changes into its backing file",
    options: [help, object, imageOpts, quiet, format, cache, value("base", "base", "b"), rateLimit, flag("drop", "d"), progress],
    operands: "filename",
  },
  {
    verb: "compare",
    summary: "tell whether two images have the same content",
    options: [
      help,
      object,
      imageOpts,
      format,
      value("second-format", "fmt", "F"),
      sourceCache,
      progress,
      quiet,
      flag("strict", "s"),
      forceShare,
    ],
    operands: "filename1 filename2",
  },
  {
    verb: "convert",
    summary: "copy an image into a new one, in any format",
    options: [
      help,
      object,
      imageOpts,
      flag("target-image-opts", undefined, "target-image-opts"),
      flag("target-is-zero", undefined, "target-is-zero"),
      flag("bitmaps", undefined, "bitmaps"),
      flag("skip-broken-bitmaps", undefined, "skip-broken-bitmaps"),
      forceShare,
      flag("copy-offload", "C"),
      flag("compress", "c"),
      progress,
      quiet,
      flag("no-create", "n"),
      format,
      cache,
      sourceCache,
      value("output-format", "output_fmt", "O"),
      value("backing-file", "backing_file", "B"),
      value("backing-format", "backing_fmt", "F"),
      optionList,
      value("snapshot", "snapshot_param", "l"),
      value("sparse-size", "sparse_size", "S"),
      rateLimit,
      value("coroutines", "num_coroutines", "m"),
      flag("out-of-order", "W"),
      flag("salvage", undefined, "salvage"),
    ],
    operands: "filename [filename2 [...]] output_filename",
  },
  {
    verb: "create",
    summary: "create an image",
    options: [
      help,
      object,
      quiet,
      format,
      value("backing-file", "backing_file", "b"),
      value("backing-format", "backing_fmt", "F"),
      flag("unsafe", "u"),
      optionList,
    ],
    operands: "filename [size]",
  },
  {
    verb: "dd",
    summary: "copy blocks as dd does",
    options: [help, object, imageOpts, forceShare, format, value("output-format", "output_fmt", "O")],
    operands: "[bs=block_size] [count=blocks] [skip=blocks] if=input of=output",
  },
  {
    verb: "info",
    summary: "show what an image is",
    options: [help, object, imageOpts, formatLong, output, flag("backing-chain", undefined, "backing-chain"), forceShare],
    operands: "filename",
  },
  {
    verb: "map",
    summary: "show where an image's data is",
    options: [
      help,
      object,
      imageOpts,
      formatLong,
      value("start-offset", "offset", "s", "start-offset"),
      value("max-length", "len", "l", "max-length"),
      output,
      forceShare,
    ],
    operands: "filename",
  },
  {
    verb: "measure",
    summary: "compute the file size a new image would need",
    options: [
      help,
      output,
      value("output-format", "output_fmt", "O"),
      optionList,
      value("size", "N", undefined, "size"),
      object,
      imageOpts,
      format,
      value("snapshot", "snapshot_param", "l"),
      forceShare,
    ],
    operands: "[filename]",
  },
  {
    verb: "snapshot",
    summary: "list, create, apply or delete internal snapshots",
    options: [
      help,
      object,
      imageOpts,
      forceShare,
      quiet,
      flag("list", "l"),
      value("apply", "snapshot", "a"),
      value("create", "snapshot", "c"),
      value("delete", "snapshot", "d"),
    ],
    operands: "filename",
  },
  {
    verb: "rebase",
    summary: "change the backing file of an image",
    options: [
      help,
      object,
      imageOpts,
      forceShare,
      quiet,
      format,
      cache,
      sourceCache,
      progress,
      flag("unsafe", "u"),
      value("backing-file", "backing_file", "b"),
      value("backing-format", "backing_fmt", "F"),
    ],
    operands: "filename",
  },
  {
    verb: "resize",
    summary: "change the size of an image",
    options: [
      help,
      object,
      imageOpts,
      format,
      value("preallocation", "prealloc", undefined, "preallocation"),
      quiet,
      flag("shrink", undefined, "shrink"),
    ],
    operands: "filename [+ | -]size",
    sizeLast: true,
  },
];

export function findVerb(verb: string): VerbSpec | undefined {
  return VERBS.find((spec) => spec.verb === verb);
}

export function versionText(program: string, version: string): string {
  return `${program} version ${version}\nBlockcore: disk images, portably`;
}

/** `formats`: names of the formats and protocols this build can open; they end up on one greppable line. */
export function helpText(program: string, version: string, formats: readonly string[], more: readonly string[] = []): string {
  const lines = VERBS.map(usageLine);
  return `${versionText(program, version)}
usage: ${program} [standard options] command [command options]
Disk image utility, with the command line of QEMU 7.2

    '-h', '--help'       show this text
    '-V', '--version'    show the version
    '-T', '--trace'      accepted as qemu-img does: [[enable=]<pattern>][,events=<file>][,file=<file>]

Command syntax:
${lines.join("\n")}

What the commands do:
${[...VERBS.map((spec) => `  ${spec.verb.padEnd(9)} ${spec.summary}`), ...more].join("\n")}

Command parameters:
  'filename'        an image: a path, a URL, or with --image-opts a list of options
  'objectdef'       a user-creatable object such as secret,id=sec0,data=passphrase
  'fmt'             the format of the image; found out by probing if not given
  'cache'           how writes are cached: none, writeback (the default; convert: unsafe),
                    writethrough, directsync or unsafe; 'src_cache' is the same for reading
  'size'            bytes, or with a suffix: k, M, G, T, P, E (powers of 1024); b means bytes
  'options'         name=value,... for the format; '-o help' lists what a format understands
  'snapshot_param'  snapshot.id=ID,snapshot.name=NAME or one of the two by itself
  'rate_limit'      bytes per second, with the same suffixes
  -c  compress the target                    -p  show progress
  -n  the target exists already              -q  print errors only
  -S  zero runs of this many bytes stay unallocated (default 4k; 0: write everything)
  -u  rebase, create: do not open the backing file, take it as it is
  -U  open even if the image is in use       -W  write out of order (convert)
  -s  compare: sizes and allocation must match, too
  -m  convert: requests in flight (1 to 16, default 8)
  --output          'human' or 'json'
  bitmap            --add, --remove, --clear, --enable, --disable and --merge act in the order given
  check -r          'leaks' frees lost clusters; 'all' repairs what it can, at the risk of a wrong guess
  snapshot          -l lists, -c creates, -a goes back to, -d deletes
  dd                bs=BYTES (default 512), count=N and skip=N blocks, if=FILE, of=FILE

Supported formats: ${[...formats].sort().join(" ")}
`;
}
