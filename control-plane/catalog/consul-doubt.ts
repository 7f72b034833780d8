/**
 * When an answer that takes instances away is believed. An empty answer comes from a deregistration, but also from a
 * revoked token (Consul filters and answers 200), from servers that lost their state, or from a broken gateway in
 * between: losing every endpoint by such an error is worse than keeping some that are gone, which breakers find.
 */

/** An answer that is not believed: treated like a failed read, the last good state stays. */
export class DoubtfulAnswer extends Error {
  override readonly name = "DoubtfulAnswer";
}

/** How long unexplained losses are held back, milliseconds: agents register anew within their minute (anti-entropy). */
export const holdMs = 60_000;

/** What is known of a set of names (services, or one service's instances) and whether a loss is being held back. */
export type Trust =
  | { readonly state: "trusted"; readonly index: number; readonly wasFiltered: boolean }
  | {
      readonly state: "held";
      readonly why: HoldReason;
      readonly sinceMs: number;
      /** Of the last answer that was trusted. */
      readonly index: number;
    };

type HoldReason = "permission" | "empty" | "reset";

export const freshTrust: Trust = { state: "trusted", index: 0, wasFiltered: false };

export interface Judgement {
  readonly trust: Trust;
  /** Names that the answer lacks and that stay nevertheless. Key: name. */
  readonly held: ReadonlySet<string>;
  /** Why, in one line; "" when nothing is held. */
  readonly reason: string;
}

/**
 * Compares the names that are known with those of an answer. Names that came are always taken; names that went are kept
 * when the token lost permission (Consul says for the first time that it left something out), and for 60 s when nothing
 * at all is left (Consul lists at least itself) or the index went backwards (the servers lost or restored their state).
 */
export function judge(
  trust: Trust,
  answer: {
    readonly had: Iterable<string>;
    readonly has: ReadonlySet<string>;
    readonly index: number;
    readonly isFiltered: boolean;
    readonly nowMs: number;
  },
): Judgement {
  const missing = new Set([...answer.had].filter((name) => !answer.has.has(name)));
  const trusted: Judgement = {
    trust: { state: "trusted", index: answer.index, wasFiltered: answer.isFiltered },
    held: new Set(),
    reason: "",
  };
  const why = missing.size === 0 ? undefined : holdReason(trust, answer);
  if (why === undefined) return trusted;
  const sinceMs = trust.state === "held" && trust.why === why ? trust.sinceMs : answer.nowMs;
  if (why !== "permission" && answer.nowMs - sinceMs >= holdMs) return trusted;
  return { trust: { state: "held", why, sinceMs, index: trust.index }, held: missing, reason: reasons[why] };
}

function holdReason(
  trust: Trust,
  answer: { readonly has: ReadonlySet<string>; readonly index: number; readonly isFiltered: boolean },
): HoldReason | undefined {
  const heldFor = trust.state === "held" ? trust.why : undefined;
  const isNewlyFiltered = trust.state === "trusted" ? !trust.wasFiltered : heldFor === "permission";
  if (answer.isFiltered && isNewlyFiltered) return "permission";
  if (answer.has.size === 0) return "empty";
  return answer.index < trust.index || heldFor === "reset" ? "reset" : undefined;
}

const reasons: Readonly<Record<HoldReason, string>> = {
  permission: "consul leaves results out for want of permission: the token needs service:read and node:read",
  empty: "consul lists no service at all, not even itself: was the token revoked?",
  reset:
    "consul's index went backwards and registrations are missing: waiting for the agents to register again",
};

/**
 * Must a fall from `before` to `after` instances be confirmed by the leader? Yes when all are gone, or most of several;
 * a rolling deployment takes them one by one.
 */
export function isSuspiciousDrop(before: number, after: number): boolean {
  if (before === 0) return false;
  return after === 0 || (before >= 4 && after < before / 2);
}

/**
 * Consul lists a service exactly as long as it has an instance, so an empty health answer for a name that the leader
 * still lists is a contradiction.
 *
 * @param names the names under which the lost instances were registered.
 * @throws DoubtfulAnswer
 */
export function assertUnlisted(names: ReadonlySet<string>, listed: ReadonlySet<string>): void {
  for (const name of names) {
    if (listed.has(name))
      throw new DoubtfulAnswer(
        `consul lists ${name} but answers no instance of it: does the token still have node:read and service:read?`,
      );
  }
}
