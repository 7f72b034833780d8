import type { AuthorizationConfig } from "../../src/config/authorization-config.js";
import type { SeenCall, ServiceCalls, ServiceName } from "./call-table.js";
import { notableSegments } from "./example-paths.js";
import { createJudge, type Judge, type JudgedCall, type Judgement } from "./judge-calls.js";

/** Calls that are judged otherwise by the new policies. */
export interface CallChange extends ServiceName, JudgedCall {
  readonly count: number;
  /** Unix milliseconds. */
  readonly lastSeenMs: number;
  readonly before: Judgement;
  readonly after: Judgement;
}

export interface PolicyComparison {
  /** Kinds of calls that were judged, and calls. */
  readonly kinds: number;
  readonly calls: number;
  /** The gravest first. */
  readonly changes: readonly CallChange[];
  /** Something that is let through now would be refused, or may be. */
  readonly breaks: boolean;
}

/** What is waited for before more work is done; throws when it is to end. */
export type Turn = () => Promise<void> | undefined;

/** What policies say to one service. */
export type ConfigOf = (service: ServiceName) => AuthorizationConfig;

/**
 * Judges each observed call by both.
 * @param turn asked before each call, and waited for: many calls and many rules take long, and others are to be served meanwhile.
 */
export async function comparePolicies(
  services: readonly ServiceCalls[],
  before: ConfigOf,
  after: ConfigOf,
  turn: Turn = () => undefined,
): Promise<PolicyComparison> {
  const changes: CallChange[] = [];
  let kinds = 0;
  let calls = 0;
  for (const { service, namespace, calls: seen } of services) {
    const name = { service, namespace };
    const configs = [before(name), after(name)] as const;
    const notable = notableSegments(configs);
    const [judgeBefore, judgeAfter] = configs.map((config) => createJudge(config, notable)) as [Judge, Judge];
    for (const call of together(seen)) {
      await turn();
      kinds++;
      calls += call.count;
      const [was, will] = [judgeBefore(call), judgeAfter(call)];
      // Another rule says the same: nobody notices.
      if (was.outcome === will.outcome) continue;
      changes.push({ ...name, ...call, before: was, after: will });
    }
  }
  changes.sort((a, b) => gravity(a) - gravity(b) || b.count - a.count);
  return { kinds, calls, changes, breaks: changes.some((change) => gravity(change) < 2) };
}

/** 0 would be refused, 1 may be, 2 would be by a policy that is tried out, 3 the rest. */
function gravity({ before, after }: CallChange): number {
  if (before.outcome !== "deny" && after.outcome === "deny") return 0;
  if (before.outcome !== "deny" && after.outcome === "depends") return 1;
  return after.outcome === "audit" ? 2 : 3;
}

type Sum = JudgedCall & Pick<SeenCall, "count" | "lastSeenMs">;

/** What was said to them then is of no interest. */
function together(calls: readonly SeenCall[]): readonly Sum[] {
  const sums = new Map<string, Sum>();
  for (const { caller, method, path, port, protocol, count, lastSeenMs } of calls) {
    const key = JSON.stringify([caller, method, path, port, protocol]);
    const known = sums.get(key);
    sums.set(key, {
      ...{ caller, method, path, port, protocol },
      count: count + (known?.count ?? 0),
      lastSeenMs: Math.max(lastSeenMs, known?.lastSeenMs ?? 0),
    });
  }
  return [...sums.values()];
}
