/** Real processes: applications that close idle connections just as a request comes. The long form is part of `make chaos`. */
import t from "tap";
import {
  brokenInRace,
  joinKeepAliveApp,
  runKeepAliveRace,
  seenBy,
  sendInLanes,
} from "../chaos/keep-alive-race.js";
import { startMesh } from "../support/cli-mesh.js";

t.test(
  "no request is lost to a connection that its application closes, no POST executed twice",
  async (t) => {
    const seen = await runKeepAliveRace(t, { lanes: 60, seconds: 5 });
    t.same(seen.flatMap(brokenInRace), []);
    t.same(
      seen.map(({ name, sent }) => [name, sent.length]),
      [
        ["silent", 180],
        ["five", 180],
        ["two", 300],
      ],
    );
  },
);

t.test("a request that crosses with the end of its connection", async (t) => {
  const lanes = 8;
  const mesh = await startMesh(t);
  const web = await mesh.join({ name: "web", service: "web", upstreams: ["closer"], command: [] });
  const env = { LANES: `${lanes}`, KEEP_ALIVE_MS: "60000", CROSSING_MS: "500" };
  const app = await joinKeepAliveApp(mesh, web, "closer", env);
  const port = web.upstreams.get("closer") ?? 0;
  const { sent, failures } = await sendInLanes(port, lanes, [() => 0, () => 1000]);
  const { executed, crossed } = await seenBy(app);
  t.equal(crossed, lanes, "each connection was closed with a request on it");
  const lost = sent.filter((id) => id.startsWith("POST-1-"));
  t.same(
    [...failures].sort(),
    lost.map((id) => `${id} after 1000 ms: 502 keepalive_race`).sort(),
    "who sent a POST is told",
  );
  t.same(
    [...executed].sort(),
    sent.filter((id) => !lost.includes(id)).sort(),
    "a GET is sent again, a POST never",
  );
});
