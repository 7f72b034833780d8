import type { PriorityConfig } from "../../src/config/priority-config.js";
import { nearestSection, type Policies } from "./policies-for.js";

/** Where the class of requests comes from; undefined when no policy says it. */
export function compilePriority(policies: Policies): PriorityConfig | undefined {
  const spec = nearestSection(policies, "priority")?.spec;
  if (spec === undefined) return undefined;
  return typeof spec === "string"
    ? { type: "class", class: spec }
    : { type: "header", name: spec.header.toLowerCase() };
}
