/** Where the time of a profile belongs: pure. */

/** Percent of all samples. */
export interface Share {
  /** Largest first. */
  readonly groups: readonly (readonly [group: string, percent: number])[];
  /** Our own functions with the most time, largest first. */
  readonly top: readonly (readonly [name: string, percent: number])[];
}

const topCount = 15;
const ours = "JavaScript of Remora";

const nativeGroups: readonly (readonly [pattern: RegExp, group: string])[] = [
  [
    /aes|gcm|sha(256|384|512)|ossl|openssl|EVP_|SSL_|ssl3_|tls1|tls_|BIO_|bn_|ecp_|CRYPTO_|poly1305|chacha|ERR_|node::crypto|TLSWrap|NodeBIO/i,
    "node binary: TLS (OpenSSL and its wrapper)",
  ],
  [/Scaveng|MarkCompact|Marking|Sweep|Heap::|GC|Evacuat|IncrementalMark/, "node binary: garbage collection"],
  [
    /v8::internal::(compiler|maglev|baseline|interpreter|turboshaft)|Parser|Scanner|BytecodeArray|TurboFan|OptimizedCompilation/,
    "node binary: compiling JavaScript",
  ],
  [/^uv_|uv__/, "node binary: libuv"],
  [/^Builtins_|Builtin:/, "V8: built-in functions"],
];

/** @param text `perf report -F overhead,dso,symbol -t TAB`. */
export function groupPerf(text: string): Share {
  const samples = text.split("\n").flatMap((line) => {
    const [overhead = "", dso = "", ...symbol] = line.split("\t").map((cell) => cell.trim());
    const percent = Number.parseFloat(overhead);
    return Number.isFinite(percent) && dso !== "" ? [{ percent, dso, symbol: symbol.join(" ") }] : [];
  });
  return shareOf(
    samples.map(({ percent, dso, symbol }) => {
      const name = symbol.replace(/^\[.\]\s+/, "");
      return { percent, group: perfGroup(dso, name), name: shortName(name) };
    }),
  );
}

function perfGroup(dso: string, symbol: string): string {
  if (/kernel|\[k\]|vmlinux|\.ko\b/.test(dso)) return "kernel";
  if (/libc[-.]|libstdc|ld-linux|libm[-.]/.test(dso))
    return /malloc|free|calloc|realloc|_int_/.test(symbol) ? "libc: malloc and free" : "libc: other";
  if (/vdso/.test(dso)) return "libc: other";
  if (/perf-\d+\.map|\[JIT\]|\[unknown\]|anon/.test(dso)) return jitGroup(symbol);
  return nativeGroups.find(([pattern]) => pattern.test(symbol))?.[1] ?? "node binary: other (V8 and Node)";
}

function jitGroup(symbol: string): string {
  if (/node_modules\//.test(symbol)) return "JavaScript of packages";
  if (/dist\/(src|certs|bin)\//.test(symbol)) return ours;
  if (/node:/.test(symbol)) return "JavaScript of Node";
  if (/^JS:|^(LazyCompile|Function|Script):/.test(symbol)) return "JavaScript, other";
  return "V8: built-in functions";
}

/** `JS:*name file:///…/dist/src/a/b.js:12:3` as `name a/b.js:12`. */
function shortName(symbol: string): string {
  return symbol
    .replace(/^JS:[*^~+]*/, "")
    .replace(/(?:file:\/\/)?\S*dist\/src\/(\S+?):(\d+)(?::\d+)?/, "$1:$2");
}

/** @param text a .cpuprofile of V8. Idle time does not count. */
export function groupV8(text: string): Share {
  const { nodes, samples, timeDeltas } = JSON.parse(text) as {
    readonly nodes: readonly {
      readonly id: number;
      readonly callFrame: {
        readonly functionName: string;
        readonly url: string;
        readonly lineNumber: number;
      };
    }[];
    readonly samples: readonly number[];
    readonly timeDeltas: readonly number[];
  };
  const selfUs = new Map<number, number>();
  for (const [i, id] of samples.entries())
    selfUs.set(id, (selfUs.get(id) ?? 0) + Math.max(0, timeDeltas[i] ?? 0));
  const busy = nodes.filter(({ callFrame }) => callFrame.functionName !== "(idle)");
  const totalUs = busy.reduce((sum, { id }) => sum + (selfUs.get(id) ?? 0), 0);
  return shareOf(
    busy.map(({ id, callFrame: { functionName, url, lineNumber } }) => ({
      percent: ((selfUs.get(id) ?? 0) * 100) / Math.max(1, totalUs),
      group: v8Group(functionName, url),
      name: shortName(`${functionName} ${url}:${lineNumber + 1}`),
    })),
  );
}

function v8Group(functionName: string, url: string): string {
  if (functionName === "(garbage collector)") return "node binary: garbage collection";
  if (functionName === "(program)") return "native code and kernel";
  const group = jitGroup(url);
  return group === "V8: built-in functions" ? "native code called from JavaScript" : group;
}

function shareOf(
  samples: readonly { readonly percent: number; readonly group: string; readonly name: string }[],
): Share {
  const sum = (chosen: typeof samples, key: "group" | "name"): readonly (readonly [string, number])[] => {
    const sums = new Map<string, number>();
    for (const sample of chosen) sums.set(sample[key], (sums.get(sample[key]) ?? 0) + sample.percent);
    return [...sums].sort(([, a], [, b]) => b - a);
  };
  return {
    groups: sum(samples, "group").filter(([, percent]) => percent >= 0.05),
    top: sum(
      samples.filter(({ group }) => group === ours),
      "name",
    ).slice(0, topCount),
  };
}
