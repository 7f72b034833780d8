/** The short form of `make chaos`: its machinery, and its first promises. */
import t from "tap";
import { ChaosMesh } from "../chaos/chaos-mesh.js";
import { runScenario, scenarios } from "../chaos/scenarios.js";

t.test("ten services, one instance failing", async (t) => {
  t.setTimeout(240_000);
  const mesh = await ChaosMesh.start(t);
  for (const name of ["crash", "hang"]) {
    const scenario = scenarios.find((each) => each.name === name);
    if (scenario === undefined) throw new Error(`no scenario ${name}`);
    const seen = await runScenario(mesh, scenario, 3, undefined);
    t.same(scenario.broken(seen, seen), [], `${name}: ${JSON.stringify([...seen.client.bad])}`);
    t.equal(seen.client.sent, 300);
    t.equal(seen.bystanders.good, seen.bystanders.sent, `${name}: those that stand by`);
  }
});
