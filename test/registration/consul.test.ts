import t from "tap";
import type { ConsulService } from "../../src/registration/consul-service.js";
import { checkIdsOf, defineService } from "../../src/registration/consul-service.js";

const web: ConsulService = {
  ...{
    id: "web-1",
    name: "web",
    port: 8080,
    address: "10.0.0.5",
    meta: { protocol: "grpc" },
    tags: ["blue"],
  },
  checks: [
    { kind: "http", path: "/health", intervalMs: 5000, timeoutMs: 700 },
    { kind: "tcp" },
    { kind: "ttl", ttlMs: 9000 },
  ],
};

t.test("checks ask the application, the registry names the machine", async (t) => {
  const definition = defineService(web, 20_001, new Map());
  t.match(definition, { name: "web", id: "web-1", port: 8080, address: "10.0.0.5", tags: ["blue"] });
  t.match(definition.checks, [
    {
      checkid: "service:web-1:1",
      http: "http://127.0.0.1:8080/health",
      interval: "5000ms",
      timeout: "700ms",
    },
    { checkid: "service:web-1:2", tcp: "127.0.0.1:8080" },
    { checkid: "service:web-1:3", ttl: "9000ms" },
  ]);
  for (const check of definition.checks) {
    t.equal(check.status, "critical", "nobody has seen the application yet");
    t.match(check.deregistercriticalserviceafter, /^\d+m$/, "what is gone for good leaves the catalog");
  }
});

t.test("the sidecar stands for the service on its inbound port", async (t) => {
  const ipv6 = { ...web, appAddress: "::1", address: "fd00::5" };
  t.match(defineService(ipv6, 20_001, new Map()).connect.sidecarservice, {
    ...{ port: 20_001, address: "fd00::5" },
    proxy: {
      ...{ destinationservicename: "web", destinationserviceid: "web-1" },
      ...{ localserviceaddress: "::1", localserviceport: 8080 },
    },
    checks: [{ tcp: "[fd00::5]:20001", status: "passing" }, { aliasservice: "web-1" }],
  });
});

t.test("another datacenter may have to use another address and port", async (t) => {
  t.notOk("taggedaddresses" in defineService(web, 20_001, new Map()));
  const table = [
    [{ address: "203.0.113.9" }, 20_001],
    [{ address: "203.0.113.9", port: 443 }, 443],
  ] as const;
  for (const [wanAddress, port] of table) {
    const definition = defineService({ ...web, wanAddress }, 20_001, new Map());
    t.same(definition.taggedaddresses, { wan: { address: "203.0.113.9", port: 8080 } });
    t.same(definition.connect.sidecarservice.taggedaddresses, { wan: { address: "203.0.113.9", port } });
  }
});

t.test("a registration that replaces a lost one keeps what was known", async (t) => {
  const last = new Map([["service:web-1:1", "warning"]] as const);
  const definition = defineService({ ...web, initialStatus: "passing" }, 20_001, last);
  t.strictSame(
    definition.checks.map(({ status }) => status),
    ["warning", "passing", "passing"],
  );
  t.equal(new Set(checkIdsOf(definition)).size, 5, "ids are told apart");
});
