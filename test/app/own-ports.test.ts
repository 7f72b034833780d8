/** Row 71: whatever a registry says, nobody's requests reach a sidecar's own ports in the place of an application. */
import t from "tap";
import { ConfigError } from "../../src/errors/config-error.js";
import { isOwnAdmin, refuseOwnPorts } from "../../src/own-ports.js";
import { freePort } from "../support/free-port.js";
import { call } from "../support/http-load.js";
import { bootstrapOf, snapshotTo, startFromDisk } from "../support/sidecar-kit.js";

t.test("row 71: a name that leads to our own admin API is connected to by nobody", async (t) => {
  for (const [address, meshed] of [
    ["127.0.0.1", false],
    ["::ffff:127.0.0.1", false],
    ["::ffff:7f00:1", false],
    ["0.0.0.0", false],
    ["127.0.0.1", true],
  ] as const) {
    const adminPort = await freePort();
    const snapshot = snapshotTo([adminPort], {}, { address, meshed });
    const clusters = snapshot.clusters.map((cluster) => ({ ...cluster, mtlsMode: "PERMISSIVE" as const }));
    const web = await startFromDisk(t, "web", {
      ...{ adminPort, upstreams: [{ service: "api", port: 0 }], saved: { ...snapshot, clusters } },
    });
    const port = web.ports.upstreams.get("api") ?? 0;
    // The admin API answers only to its own name: an application can write that, too.
    for (const host of [`127.0.0.1:${adminPort}`, "api.default"]) {
      const answer = await call({ port, method: "POST", path: "/healthcheck/fail", headers: { host } });
      t.match(answer, { status: 502, error: "connect_failed" }, `${address}, meshed ${meshed}, Host ${host}`);
    }
    t.match(await call({ port: adminPort, path: "/ready" }), { status: 200 }, "nobody has told it anything");
    t.notOk(web.logged.some((line) => line.includes("told by the admin API")));
    await call({ port: adminPort, method: "POST", path: "/healthcheck/ok" });
    t.match(
      web.logged.filter((line) => line.includes("told by the admin API")),
      [/^warn .*"request":"POST \/healthcheck\/ok","status":200/],
      "who may, is in the log",
    );
    await web.close();
  }
});

t.test("row 71: a sidecar whose application is to be itself does not start", async (t) => {
  const port = await freePort();
  for (const own of [
    { adminPort: port },
    { outboundPort: port },
    { inboundPort: port },
    { upstreams: [{ service: "api", port }] },
  ])
    await t.rejects(startFromDisk(t, "web", { appPort: port, ...own }), {
      name: "ConfigError",
      message: new RegExp(
        `^--port: 127\\.0\\.0\\.1:${port} is this sidecar's own (admin|outbound|inbound|upstream:api) port: give the port`,
      ),
    });
});

t.test("row 71: own ports in other words, and those that only look like them", async (t) => {
  const admin = { name: "admin", address: "127.0.0.1:9901" };
  const everywhere = { name: "inbound", address: "0.0.0.0:15006" };
  const table: readonly (readonly [address: string, port: number, isOwn: boolean])[] = [
    ["127.0.0.1", 9901, true],
    ["localhost", 9901, true],
    ["0.0.0.0", 9901, true],
    ["::ffff:127.0.0.1", 9901, true],
    ["::ffff:7f00:1", 9901, true],
    ["127.0.0.2", 9901, false],
    ["10.0.0.5", 9901, false],
    ["127.0.0.1", 9902, false],
    ["127.0.0.1", 15_006, true],
    ["::1", 15_006, true],
    ["10.0.0.1", 15_006, true],
    ["10.0.0.5", 15_006, false],
  ];
  for (const [appAddress, appPort, isOwn] of table) {
    const bootstrap = bootstrapOf("web", "", { appAddress, appPort, advertiseAddress: "10.0.0.1" });
    const check = (): void => refuseOwnPorts(bootstrap, [everywhere, admin]);
    if (isOwn) t.throws(check, ConfigError, `${appAddress}:${appPort}`);
    else t.doesNotThrow(check, `${appAddress}:${appPort}`);
    if (appPort === 9901)
      t.equal(isOwnAdmin(9901, { address: appAddress, port: appPort }), isOwn, `endpoint ${appAddress}`);
  }
});
