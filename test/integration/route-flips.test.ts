/** Real processes: a route that changes all the time under load. The long form is part of `make chaos`. */
import t from "tap";
import { brokenInFlips, runRouteFlips } from "../chaos/route-flips.js";

t.test("a route that flips between two services fails no request", async (t) => {
  t.setTimeout(120_000);
  const seen = await runRouteFlips(t, { flips: 60, ratePerSecond: 150 });
  t.same(brokenInFlips(seen), []);
  t.comment(
    `${seen.sent} requests, ${seen.applied.join(" and ")} changes in force, served ${seen.served.join(" and ")}`,
  );
});
