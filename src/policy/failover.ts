import type { RequestContext } from "../stack/request-context.js";
import type { Service } from "../stack/service.js";
import type { Upstream } from "../stack/upstream.js";
import type { Counter } from "../telemetry/cells.js";
import type { Clock } from "../time/clock.js";

/** A cluster that requests may go to. */
export interface FailoverMember {
  readonly name: string;
  /** One attempt. Read for each: it is replaced when the cluster's configuration changes. */
  readonly service: Service;
  /** Is there an endpoint that may get traffic now and is not among `tried`? */
  hasUsable(tried: readonly Upstream[], nowMs: number): boolean;
  /** Share of the endpoints that may get traffic now, 0 to 100; 0 when there is none. */
  usablePercent(nowMs: number): number;
}

export interface FailoverOptions {
  readonly primary: FailoverMember;
  /** In the order in which they are asked. */
  readonly others: readonly FailoverMember[];
  /** 0..100: below it the primary is passed over. */
  readonly thresholdPercent: number;
  /** Counts attempts that went to a member other than the primary. */
  readonly meter: (to: string) => Counter;
  readonly clock: Clock;
}

/**
 * The end of a route's stack where a cluster has others behind it: decides for each attempt, so a retry reaches them too.
 * Each is asked through its own limits, breakers, balancing and connections. The request is noted under the one that got it.
 */
export function failover(options: FailoverOptions): Service {
  const { primary, others, thresholdPercent, clock } = options;
  const counters = others.map(({ name }) => options.meter(name));
  return {
    call(request: RequestContext, reply) {
      const position = chooseMember(primary, others, thresholdPercent, request.tried, clock.monotonicMs());
      const member = others[position] ?? primary;
      request.clusterName = member.name;
      const counter = counters[position];
      if (counter !== undefined) counter.value++;
      return member.service.call(request, reply);
    },
  };
}

/**
 * Index of the member that gets an attempt; -1 = the primary. That is the primary while enough of it is usable and an endpoint
 * of it is untried; else the first other one with an untried usable endpoint; else, with nobody to help, the primary again:
 * its panic or its error is the better answer. Pure but for the endpoints' own state.
 */
export function chooseMember(
  primary: FailoverMember,
  others: readonly FailoverMember[],
  thresholdPercent: number,
  tried: readonly Upstream[],
  nowMs: number,
): number {
  const isWell = thresholdPercent === 0 || primary.usablePercent(nowMs) >= thresholdPercent;
  if (isWell && primary.hasUsable(tried, nowMs)) return -1;
  return others.findIndex((member) => member.hasUsable(tried, nowMs));
}
