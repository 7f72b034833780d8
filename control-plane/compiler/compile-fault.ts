import type { FaultConfig } from "../../src/config/fault-config.js";
import { grpcFailureNumber } from "../../src/config/grpc-status-names.js";
import { compileHeaderMatches } from "./compile-match.js";
import { milliseconds } from "./milliseconds.js";
import { nearestSection, type Policies } from "./policies-for.js";

/** Everybody who asks for a fault and names no share means all requests (Istio does too). */
const everyRequest = 100;

/** The faults of a route: those of its nearest policy as a whole. undefined when none has any. */
export function compileFault(policies: Policies): FaultConfig | undefined {
  const found = nearestSection(policies, "fault");
  if (found === undefined) return undefined;
  const { delay, abort, match, expires } = found.spec;
  return {
    ...(delay !== undefined && {
      delay: { fixedMs: milliseconds(delay.fixed, 0), percent: delay.percent ?? everyRequest },
    }),
    ...(abort !== undefined && {
      abort: {
        ...(abort.status !== undefined && { status: abort.status }),
        ...(abort.grpcStatus !== undefined && { grpcStatus: grpcFailureNumber(abort.grpcStatus) }),
        percent: abort.percent ?? everyRequest,
      },
    }),
    headers: compileHeaderMatches(match?.headers),
    expiresMs: Date.parse(expires),
    source: found.source,
  };
}
