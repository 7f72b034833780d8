import type { InboundConfig } from "../../src/config/inbound-config.js";
import { loadSheddingDefaults as defaults } from "../../src/config/load-shedding-defaults.js";
import { milliseconds } from "./milliseconds.js";
import { nearestSection, type Policies } from "./policies-for.js";

/** The limit of requests under way at each instance, and who is turned away first when it is reached. */
export function compileLoadShedding(policies: Policies): Pick<InboundConfig, "maxRequests" | "shedding"> {
  const shedding = nearestSection(policies, "loadShedding");
  const adaptive = nearestSection(policies, "adaptiveConcurrency");
  const maxRequests = adaptive === undefined ? (shedding?.spec.maxRequests ?? 0) : 0;
  if (maxRequests === 0 && adaptive === undefined) return { maxRequests };
  const { shares = {} } = shedding?.spec ?? {};
  // One of the two may be given alone: the default of the other then follows it rather than contradict it.
  const defaultSharePercent = shares.default ?? Math.max(defaults.defaultSharePercent, shares.batch ?? 0);
  return {
    maxRequests,
    shedding: {
      defaultSharePercent,
      batchSharePercent: shares.batch ?? Math.min(defaults.batchSharePercent, defaultSharePercent),
      ...(adaptive === undefined ? {} : { adaptive: adaptiveOf(adaptive.spec) }),
      source: (adaptive ?? shedding)?.source ?? "default",
    },
  };
}

type AdaptiveSpec = NonNullable<ReturnType<typeof nearestSection<"adaptiveConcurrency">>>["spec"];

function adaptiveOf(spec: AdaptiveSpec) {
  const { minLimit, maxLimit, tolerance, windowMs } = defaults.adaptive;
  return {
    minLimit: spec.minLimit ?? Math.min(minLimit, spec.maxLimit ?? Infinity),
    maxLimit: spec.maxLimit ?? Math.max(maxLimit, spec.minLimit ?? 0),
    tolerance: spec.tolerance ?? tolerance,
    windowMs: milliseconds(spec.window, windowMs),
  };
}
