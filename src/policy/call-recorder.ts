import { other, pathShape } from "../traffic/path-shape.js";

/** What authorization said of a call: `audit` = it was let through, and would not be by a policy that only watches. */
export type CallVerdict = "allow" | "deny" | "audit";

export type CallProtocol = "http" | "grpc" | "tcp";

/** Calls that nothing tells apart. Nothing of headers, query or body is in it. */
export interface ObservedCall {
  /** SPIFFE id; "" = it proved none. */
  readonly caller: string;
  /** "" of raw TCP. */
  readonly method: string;
  /** Of traffic/path-shape.ts; "" of raw TCP. */
  readonly path: string;
  /** The application's. */
  readonly port: number;
  readonly protocol: CallProtocol;
  readonly verdict: CallVerdict;
  /** What decided it: `<policy>/<rule>` or `implicit-deny`; "" = there was no policy. */
  readonly rule: string;
  readonly count: number;
}

/** Of one sidecar between two reports. */
export const recordLimits = { callers: 256, shapes: 200, records: 2048 } as const;

const methods: ReadonlySet<string> = new Set([
  ...["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
  ...["PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH"],
]);

interface CallCount {
  readonly method: string;
  readonly protocol: CallProtocol;
  readonly verdict: CallVerdict;
  readonly rule: string;
  count: number;
}

/** Caller, then shape of the path: its counts, a handful. */
type Table = Map<string, Map<string, CallCount[]>>;

/** Counts calls by what policies go by. What it holds has a bound, whatever comes; a call that has come before adds to a number. */
export class CallRecorder {
  readonly #port: number;
  #table: Table = new Map();
  /** Those of the table, all callers together. */
  #shapes = new Set<string>();
  #records = 0;
  #lost = 0;

  /** @param port the application's, as policies name it. */
  constructor(port: number) {
    this.#port = port;
  }

  /** Calls that there was no place for since the last `take`. */
  get lost(): number {
    return this.#lost;
  }

  /** @param target canonical; "" of raw TCP. @param method as it came. */
  record(
    caller: string,
    method: string,
    target: string,
    protocol: CallProtocol,
    verdict: CallVerdict,
    rule: string,
  ): void {
    const path = target === "" ? "" : pathShape(target);
    this.#add(
      caller,
      methods.has(method) || method === "" ? method : other,
      path,
      protocol,
      verdict,
      rule,
      1,
    );
  }

  /** Everything since the last time; it begins anew. */
  take(): readonly ObservedCall[] {
    const calls: ObservedCall[] = [];
    for (const [caller, shapes] of this.#table)
      for (const [path, counts] of shapes)
        for (const { method, protocol, verdict, rule, count } of counts)
          calls.push({ caller, method, path, port: this.#port, protocol, verdict, rule, count });
    this.#table = new Map();
    this.#shapes = new Set();
    this.#records = 0;
    this.#lost = 0;
    return calls;
  }

  /** What was taken could not be told: it is told with the next. */
  putBack(calls: readonly ObservedCall[], lost = 0): void {
    this.#lost += lost;
    for (const { caller, method, path, protocol, verdict, rule, count } of calls)
      this.#add(caller, method, path, protocol, verdict, rule, count);
  }

  #add(
    caller: string,
    method: string,
    path: string,
    protocol: CallProtocol,
    verdict: CallVerdict,
    rule: string,
    count: number,
  ): void {
    const counts = this.#table.get(caller)?.get(path) ?? this.#countsOf(caller, path);
    if (counts === undefined) {
      this.#lost += count;
      return;
    }
    for (const each of counts) {
      if (
        each.method === method &&
        each.verdict === verdict &&
        each.rule === rule &&
        each.protocol === protocol
      ) {
        each.count += count;
        return;
      }
    }
    if (this.#records >= recordLimits.records) {
      this.#lost += count;
      return;
    }
    this.#records++;
    counts.push({ method, protocol, verdict, rule, count });
  }

  /** undefined: there is no place any more. */
  #countsOf(caller: string, path: string): CallCount[] | undefined {
    const isKnown = this.#table.has(caller);
    const who = isKnown || this.#table.size < recordLimits.callers ? caller : other;
    const what = this.#shapes.has(path) || this.#shapes.size < recordLimits.shapes ? path : other;
    let shapes = this.#table.get(who);
    const known = shapes?.get(what);
    if (known !== undefined || this.#records >= recordLimits.records) return known;
    if (shapes === undefined) this.#table.set(who, (shapes = new Map()));
    // A copy: a slice would keep the whole target, its query included.
    const own = Buffer.from(what, "latin1").toString("latin1");
    const counts: CallCount[] = [];
    this.#shapes.add(own);
    shapes.set(own, counts);
    return counts;
  }
}
