/** What the registry is told of the application, by a local agent played by the test. */
import { createServer } from "node:http";
import net, { type AddressInfo } from "node:net";
import t from "tap";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import { announce } from "../../src/registration/announcer.js";
import { FakeClock } from "../support/fake-clock.js";
import { bootstrapOf } from "../support/sidecar-kit.js";
import { until } from "../support/until.js";

t.test("a TTL check says what the application's port says", async (t) => {
  const reports: string[] = [];
  const agent = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      if (request.url?.includes("/check/") === true) reports.push(`${request.url} ${body}`.toLowerCase());
      response.setHeader("content-type", "application/json").end("{}");
    });
  });
  await new Promise<void>((resolve) => agent.listen(0, "127.0.0.1", resolve));
  const app = net.createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => app.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    agent.close();
    agent.closeAllConnections();
    app.close();
  });
  const appPort = (app.address() as AddressInfo).port;
  const clock = new FakeClock();
  const announcement = await announce({
    bootstrap: bootstrapOf("api", "/nowhere", {
      appPort,
      registration: {
        kind: "consul",
        url: `http://127.0.0.1:${(agent.address() as AddressInfo).port}`,
        token: undefined,
        caFile: undefined,
        tags: [],
        checks: [{ kind: "ttl", ttlMs: 15_000 }],
      },
    }),
    nodeId: "api-1",
    inboundPort: 2,
    client: new LatestValue(undefined),
    clock,
    log: () => undefined,
  });
  const says = (status: string) =>
    until(`reported ${status}`, () => {
      clock.advance(500);
      return reports.at(-1)?.includes(status);
    });
  await says("/check/pass/");
  await new Promise((resolve) => app.close(resolve));
  await says("/check/fail/");
  await new Promise<void>((resolve) => app.listen(appPort, "127.0.0.1", resolve));
  await says("/check/pass/");
  await announcement.withdraw();
  const { length } = reports;
  clock.advance(60_000);
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(reports.length, length, "nothing is reported after the end");
});

t.test("a web server that answers 200 to everything is no agent", async (t) => {
  const server = createServer((_request, response) => void response.end("<html>welcome</html>"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const registration = {
    kind: "consul" as const,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ...{ token: undefined, caFile: undefined, tags: [], checks: [] },
  };
  const announced = announce({
    bootstrap: bootstrapOf("api", "/nowhere", { registration }),
    ...{ nodeId: "api-1", inboundPort: 2, client: new LatestValue(undefined) },
    ...{ clock: new FakeClock(), log: () => undefined },
  });
  await t.rejects(announced, {
    name: "ConfigError",
    message: /what answers there is no agent of Consul; is the agent running there\? \(--consul/,
  });
});
