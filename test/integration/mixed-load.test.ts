/**
 * Real processes: requests of every kind in both directions at once, each with a nonce that only its own answer has. MIXED_REQUESTS
 * for more or fewer.
 */
import t from "tap";
import { miscounted, startMixedMesh } from "../support/mixed-mesh.js";
import { MixedTraffic } from "../support/mixed-traffic.js";

const count = Number(process.env["MIXED_REQUESTS"] ?? 20_000);
const concurrency = 256;

t.test(`${count} mixed requests: none lost, doubled, or answered for another`, async (t) => {
  t.setTimeout(230_000);
  const { apps, targets } = await startMixedMesh(t);
  const traffic = new MixedTraffic({ targets, seed: 20_260_101 });
  const startMs = performance.now();
  await traffic.run(count, concurrency);
  const seconds = (performance.now() - startMs) / 1000;
  await traffic.reconnect();
  t.comment(`${count} requests in ${seconds.toFixed(1)} s: ${JSON.stringify([...traffic.counts])}`);
  t.same(traffic.problems.slice(0, 20), [], `${traffic.problems.length} problems`);
  t.equal(traffic.done, count);
  t.equal(traffic.counts.size, 6, "every kind of request");
  t.same(apps.flatMap(({ problems }) => problems).slice(0, 20), [], "the applications saw nothing odd");
  const wrong = miscounted(traffic.sent, apps);
  t.same(wrong.slice(0, 20), [], `${wrong.length} miscounted`);
  t.equal(new Set(traffic.sent.map(({ nonce }) => nonce)).size, count);
});
