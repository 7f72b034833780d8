/** What `remora check` is told of every inbound port: real handshakes with listeners of every kind. */
import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import { createServer } from "node:tls";
import t, { type Test } from "tap";
import {
  readServedCertificates,
  type ServedCertificatesView,
} from "../../../control-plane/admin/served-certificates.js";
import type { CatalogState, Instance } from "../../../control-plane/catalog/catalog.js";
import { serverTlsOptions } from "../../../src/identity/tls-options.js";
import type { Svid } from "../../../src/identity/svid.js";
import { LatestValue } from "../../../src/lifecycle/latest-value.js";
import { systemClock } from "../../../src/time/clock.js";
import { freePort } from "../../support/free-port.js";
import { identityOf, trustDomain } from "../../support/sidecar-kit.js";

async function listen(t: Test, own: Svid): Promise<number> {
  const server = createServer(serverTlsOptions(own), (socket) =>
    socket.on("error", () => undefined).resume(),
  );
  server.on("tlsClientError", () => undefined).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

function catalogOf(ports: Readonly<Record<string, number | undefined>>): CatalogState {
  const instances = Object.entries(ports).map(([id, meshPort]): Instance => ({
    ...{ id, address: "127.0.0.1", port: 80, meshPort, status: "passing", protocol: "http" },
    ...{ weight: 1, zone: "", meta: {}, tags: [] },
  }));
  const web = { name: "web", namespace: "default", instances };
  return { services: new Map([["web.default", web]]), staleSince: undefined };
}

t.test("each port is told with its serial, its life and what peers would say", async (t) => {
  const own = await identityOf("control-plane");
  const good = await identityOf("web");
  const silent = net.createServer().listen(0, "127.0.0.1");
  await once(silent, "listening");
  t.teardown(() => silent.close());
  const catalog = catalogOf({
    "1-good": await listen(t, good),
    "2-expired": await listen(t, await identityOf("web", { issuedAtMs: Date.now() - 7_200_000 })),
    "3-other": await listen(t, await identityOf("evil")),
    "4-gone": await freePort(),
    "5-silent": (silent.address() as AddressInfo).port,
    "6-bare": undefined,
  });
  const view: ServedCertificatesView = await readServedCertificates({
    certificates: new LatestValue<Svid | undefined>(own),
    trustDomain,
    catalog: () => catalog,
    clock: systemClock,
  });
  t.match(view.controlPlane, { id: own.id, serial: own.serial, notAfterMs: own.notAfterMs });
  t.match(view.sidecars, [
    { instance: "1-good", id: good.id, serial: good.serial, notAfterMs: good.notAfterMs, problem: null },
    { instance: "2-expired", isSeen: true, problem: "CERT_HAS_EXPIRED" },
    { instance: "3-other", isSeen: true, problem: /^belongs to spiffe:.*svc\/evil$/ },
    { instance: "4-gone", isSeen: false, problem: /ECONNREFUSED/, serial: null },
    { instance: "5-silent", isSeen: false, problem: "no handshake within 2s" },
  ]);
  t.equal(view.leftOut, 0);
  t.same(view.intermediates, []);
});

t.test("who asks while a look is under way gets its answer", async (t) => {
  let looks = 0;
  const options = {
    certificates: new LatestValue<Svid | undefined>(await identityOf("control-plane")),
    trustDomain,
    catalog: () => {
      looks++;
      return catalogOf({});
    },
    clock: systemClock,
  };
  const ask = () => readServedCertificates(options);
  const answers = await Promise.all([ask(), ask(), ask()]);
  t.equal(looks, 1);
  t.equal(answers[0], answers[2]);
  await ask();
  t.equal(looks, 2, "and the next looks anew");
});

t.test("a mesh full of black holes is not waited for", async (t) => {
  const silent = net.createServer().listen(0, "127.0.0.1");
  await once(silent, "listening");
  t.teardown(() => silent.close());
  const { port } = silent.address() as AddressInfo;
  const ports = Object.fromEntries(Array.from({ length: 1000 }, (_, index) => [`i${index}`, port]));
  let shiftMs = 0;
  const hasty = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + shiftMs };
  const own = await identityOf("control-plane");
  const asked = readServedCertificates({
    certificates: new LatestValue<Svid | undefined>(own),
    trustDomain,
    catalog: () => catalogOf(ports),
    clock: hasty,
  });
  shiftMs = 10_000;
  const view = await asked;
  t.equal(view.sidecars.length, 16, "one look each, then time was up");
  t.equal(view.leftOut, 984);
});
