import type { MeshOwner } from "../support/cli-mesh.js";
import { brokenInRace, runKeepAliveRace } from "./keep-alive-race.js";
import { brokenInRestarts, runRollingRestarts } from "./rolling-restarts.js";
import { brokenInFlips, runRouteFlips } from "./route-flips.js";
import { runSlowAnswer } from "./slow-answer.js";

/** What happens in every mesh all the time, and no client may ever notice. Runs on a mesh of its own. */
export interface Unnoticed {
  readonly name: string;
  readonly what: string;
  readonly run: (owner: MeshOwner) => Promise<{
    readonly summary: string;
    /** One line for each promise. */ readonly broken: readonly string[];
  }>;
}

export const unnoticed: readonly Unnoticed[] = [
  {
    name: "keep-alive race",
    what: "applications close idle connections as requests come; 200 clients for 50 s",
    run: async (owner) => {
      const seen = await runKeepAliveRace(owner, { lanes: 200, seconds: 50 });
      const each = seen.map(
        ({ name, sent, failures }) => `${name} ${failures.length} of ${sent.length} failed`,
      );
      return { summary: each.join(", "), broken: seen.flatMap(brokenInRace) };
    },
  },
  {
    name: "route flips",
    what: "a route changes between two services 1,000 times under 200 requests/s",
    run: async (owner) => {
      const seen = await runRouteFlips(owner, { flips: 1000, ratePerSecond: 200 });
      const { sent, failures, served, applied } = seen;
      const summary = `${failures.length} of ${sent} failed, executed ${served.join(" + ")}, changes in force ${applied.join(" and ")}`;
      return { summary, broken: brokenInFlips(seen) };
    },
  },
  {
    name: "rolling restarts",
    what: "three instances are restarted in turn, 20 times, under 200 requests/s, half of them POSTs",
    run: async (owner) => {
      const seen = await runRollingRestarts(owner, { restarts: 20, ratePerSecond: 200 });
      const summary = `${seen.failures.length} of ${seen.sent} failed, ${seen.posted.length} POSTs executed`;
      return { summary, broken: brokenInRestarts(seen) };
    },
  },
  {
    name: "slow answer",
    what: "an application answers after 60 s, and no document says how long it may take",
    run: async (owner) => {
      const status = await runSlowAnswer(owner, 60);
      return { summary: `status ${status}`, broken: status === 200 ? [] : [`status ${status}`] };
    },
  },
];
