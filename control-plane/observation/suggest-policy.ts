import { parseSpiffeId, splitSpiffeUri } from "../../certs/spiffe-id.js";
import { CertificateError } from "../../certs/certificate-error.js";
import type {
  AuthorizationOperation,
  AuthorizationPolicy,
} from "../../src/config/documents/authorization-policy.js";
import { other } from "../../src/traffic/path-shape.js";
import type { SeenCall, ServiceCalls } from "./call-table.js";

/** What one caller was seen doing, and the rule that admits it. */
export interface SuggestedRule {
  /** SPIFFE id. */
  readonly caller: string;
  readonly calls: number;
  /** Unix milliseconds. */
  readonly firstSeenMs: number;
  readonly lastSeenMs: number;
  readonly operations: readonly AuthorizationOperation[];
}

/** The least that admits what was let through. */
export interface Suggestion {
  readonly service: string;
  readonly namespace: string;
  readonly rules: readonly SuggestedRule[];
  /** undefined: there is nothing to admit. */
  readonly document: AuthorizationPolicy | undefined;
  /** Calls that the document does not admit, or cannot: why, one line each. */
  readonly leftOut: readonly string[];
}

/** Of an operation, in the schema of the document. */
const maxPaths = 128;
/** Of a rule. */
const maxOperations = 64;
const maxStem = 63 - "-callers".length;

/** Pure. @param mode of the document: to be tried out first, or to be in force. */
export function suggestPolicy(seen: ServiceCalls, mode: "audit" | "enforce"): Suggestion {
  const { service, namespace, calls } = seen;
  const admitted = calls.filter(({ verdict }) => verdict !== "deny");
  const known = admitted.filter((call) => whyNot(call) === undefined);
  const rules = [...groupBy(known, ({ caller }) => caller)]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([caller, own]) => rulesOf(caller, own));
  const document: AuthorizationPolicy | undefined =
    rules.length === 0
      ? undefined
      : {
          apiVersion: "remora.mesh/v1",
          kind: "AuthorizationPolicy",
          metadata: { name: `${documentStem(service)}-callers`, namespace },
          spec: {
            targetRefs: [{ kind: "Service", name: service }],
            action: "ALLOW",
            ...(mode === "audit" && { mode }),
            rules: rules.map(({ caller, operations }) => ({
              from: [{ source: { principals: [caller.slice("spiffe://".length)] } }],
              ...(operations.length > 0 && { to: operations.map((operation) => ({ operation })) }),
            })),
          },
        };
  return { service, namespace, rules, document, leftOut: leftOut(calls) };
}

/** Paths that were asked for by the same methods stand together. No operation: whatever a connection carries. */
function rulesOf(caller: string, calls: readonly SeenCall[]): readonly SuggestedRule[] {
  const http = calls.filter(({ protocol }) => protocol !== "tcp");
  const byPath = groupBy(http, ({ path }) => path);
  const byMethods = groupBy([...byPath.keys()].sort(), (path) =>
    [...new Set(byPath.get(path)?.map(({ method }) => method))].sort().join(" "),
  );
  const operations = [...byMethods]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([methods, paths]) =>
      inPieces(paths.map(pathPattern), maxPaths).map((piece) => ({
        methods: methods.split(" "),
        paths: piece,
      })),
    );
  const rule = {
    caller,
    calls: calls.reduce((sum, { count }) => sum + count, 0),
    firstSeenMs: Math.min(...calls.map(({ firstSeenMs }) => firstSeenMs)),
    lastSeenMs: Math.max(...calls.map(({ lastSeenMs }) => lastSeenMs)),
  };
  // A caller of raw TCP cannot be told what to ask for; one that does both was seen over a change of protocol.
  if (http.length < calls.length) return [{ ...rule, operations: [] }];
  return inPieces(operations, maxOperations).map((piece) => ({ ...rule, operations: piece }));
}

/** `*` alone would match over the ends of segments. */
function pathPattern(shape: string): string {
  return shape.replaceAll("*", "{*}");
}

/** Why no rule can admit the call; undefined when one can. */
function whyNot({ caller, method, path }: SeenCall): string | undefined {
  if (caller === "") return "of callers without a certificate: no policy can name them";
  if (caller === other) return "of more callers than are told apart";
  if (path === other) return "to more paths than are told apart";
  if (method === other) return "by methods that no standard names";
  return undefined;
}

function leftOut(calls: readonly SeenCall[]): readonly string[] {
  const reasons = groupBy(calls, (call) =>
    call.verdict === "deny"
      ? `that were refused (${call.rule === "" ? "without a rule" : call.rule})`
      : whyNot(call),
  );
  return [...reasons].flatMap(([reason, own]) =>
    reason === undefined ? [] : [`${own.reduce((sum, { count }) => sum + count, 0)} calls ${reason}`],
  );
}

/** The name of a document has no underscore, and a label of it 63 characters. */
function documentStem(service: string): string {
  return service.replaceAll("_", "-").slice(0, maxStem);
}

/** As tables and comments name a caller: `web.default`, or the whole id when it is no service of this mesh. */
export function callerText(id: string, trustDomain: string): string {
  if (id === "") return "(no certificate)";
  if (id === other) return other;
  try {
    if (splitSpiffeUri(id).trustDomain !== trustDomain) return id;
    const { service, namespace } = parseSpiffeId(id);
    return `${service}.${namespace}`;
  } catch (error: unknown) {
    if (error instanceof CertificateError) return id;
    throw error;
  }
}

function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}

function inPieces<T>(items: readonly T[], size: number): readonly T[][] {
  const pieces: T[][] = [];
  for (let at = 0; at < items.length; at += size) pieces.push(items.slice(at, at + size));
  return pieces;
}
