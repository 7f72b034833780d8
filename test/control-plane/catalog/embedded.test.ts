/** The embedded registry: who is in it, for how long, and what a sidecar may say about itself. */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import type { Instance } from "../../../control-plane/catalog/catalog.js";
import { parseStatus, readDeclaration } from "../../../control-plane/catalog/declaration.js";
import { createEmbeddedCatalog, type EmbeddedCatalog } from "../../../control-plane/catalog/embedded.js";
import { keepKnownInstances, readKnownInstances } from "../../../control-plane/catalog/known-instances.js";
import type { InstanceDeclaration } from "../../../src/registration/registration-service.js";
import { FakeClock } from "../../support/fake-clock.js";

const web = { service: "web", namespace: "default" };

function instance(id: string, more: Partial<Instance> = {}): Instance {
  return {
    id,
    address: "10.0.0.1",
    port: 8080,
    meshPort: 15006,
    status: "passing",
    protocol: "http",
    weight: 1,
    zone: "",
    meta: {},
    tags: [],
    ...more,
  };
}

const ids = (catalog: EmbeddedCatalog, key = "web.default"): string[] | undefined =>
  catalog.state
    .get()
    ?.services.get(key)
    ?.instances.map(({ id }) => id);

void t.test("instances come, change and go", async (t) => {
  const clock = new FakeClock();
  const catalog = createEmbeddedCatalog({ clock });
  t.equal(catalog.state.get()?.services.size, 0, "a first start has nobody to wait for");
  const seen: unknown[] = [];
  catalog.state.watch((state) =>
    seen.push(state?.services.get("web.default")?.instances.map((i) => i.status)),
  );
  const first = catalog.add(web, instance("a"), () => undefined);
  const second = catalog.add(web, instance("b"), () => undefined);
  first?.setStatus("critical");
  first?.setStatus("critical");
  second?.remove();
  second?.remove();
  first?.remove();
  first?.setStatus("passing");
  t.same(seen, [["passing"], ["passing", "passing"], ["critical", "passing"], ["critical"], []]);
  t.ok(catalog.state.get()?.services.has("web.default"), "an empty service stays known");
  await catalog.close();
  t.equal(clock.pendingTimers, 0);
});

void t.test("a published state never changes", async (t) => {
  const catalog = createEmbeddedCatalog({ clock: new FakeClock() });
  catalog.add(web, instance("a"), () => undefined);
  const before = catalog.state.get();
  catalog.add(web, instance("b"), () => undefined)?.setStatus("critical");
  catalog.add({ ...web, service: "api" }, instance("c"), () => undefined);
  t.equal(before?.services.size, 1);
  t.equal(before?.services.get("web.default")?.instances.length, 1);
});

void t.test("the newest stream of an id wins, in its own service only", async (t) => {
  const catalog = createEmbeddedCatalog({ clock: new FakeClock() });
  let replaced = 0;
  const old = catalog.add(web, instance("a", { port: 1 }), () => replaced++);
  catalog.add({ ...web, service: "api" }, instance("a"), () => undefined);
  t.equal(replaced, 0);
  catalog.add(web, instance("a", { port: 2 }), () => undefined);
  t.equal(replaced, 1);
  old?.setStatus("critical");
  old?.remove();
  t.match(catalog.state.get()?.services.get("web.default")?.instances, [
    { id: "a", port: 2, status: "passing" },
  ]);
});

void t.test("it is bounded", async (t) => {
  const catalog = createEmbeddedCatalog({ clock: new FakeClock(), maxInstances: 2 });
  const first = catalog.add(web, instance("a"), () => undefined);
  catalog.add(web, instance("b"), () => undefined);
  t.equal(
    catalog.add(web, instance("c"), () => undefined),
    undefined,
  );
  t.ok(
    catalog.add(web, instance("b"), () => undefined),
    "replacing needs no room",
  );
  first?.remove();
  t.ok(catalog.add(web, instance("c"), () => undefined));

  const shared = createEmbeddedCatalog({ clock: new FakeClock(), maxServiceInstances: 1 });
  shared.add(web, instance("a"), () => undefined);
  t.equal(
    shared.add(web, instance("b"), () => undefined),
    undefined,
    "one service cannot take all the room",
  );
  t.ok(shared.add({ ...web, service: "api" }, instance("b"), () => undefined));

  const many = createEmbeddedCatalog({ clock: new FakeClock() });
  for (let n = 0; n < 1100; n++)
    many.add({ service: `s${n}`, namespace: "default" }, instance("a"), () => undefined)?.remove();
  t.equal(many.state.get()?.services.size, 1000, "of services without instances the oldest are forgotten");
  t.ok(many.state.get()?.services.has("s1099.default"));
});

void t.test("after a restart nothing is published until those known are back, or time is up", async (t) => {
  const known = ["web.default/a", "web.default/b"];
  const clock = new FakeClock();
  const back = createEmbeddedCatalog({ clock, known });
  back.add(web, instance("a"), () => undefined);
  back.add(web, instance("new"), () => undefined);
  t.equal(back.state.get(), undefined);
  back.add(web, instance("b"), () => undefined);
  t.same(ids(back), ["a", "new", "b"], "all back: no further waiting");
  t.equal(clock.pendingTimers, 0);

  const gone = createEmbeddedCatalog({ clock, known });
  gone.add(web, instance("a"), () => undefined);
  clock.advance(4999);
  t.equal(gone.state.get(), undefined);
  clock.advance(1);
  t.same(ids(gone), ["a"]);
});

void t.test("known instances are kept on disk", async (t) => {
  const file = path.join(t.testdir(), "known.json");
  const clock = new FakeClock();
  t.same(await readKnownInstances(file), [], "no file yet");
  const catalog = createEmbeddedCatalog({ clock });
  const errors: unknown[] = [];
  const stop = keepKnownInstances(file, catalog.state, clock, (error) => errors.push(error));
  const first = catalog.add(web, instance("a"), () => undefined);
  catalog.add(web, instance("b"), () => undefined);
  first?.remove();
  await stop();
  t.same(await readKnownInstances(file), ["web.default/b"]);

  // A start that never settled must not overwrite what the next start has to wait for.
  const waiting = createEmbeddedCatalog({ clock, known: ["web.default/b"] });
  await keepKnownInstances(file, waiting.state, clock, (error) => errors.push(error))();
  t.same(await readKnownInstances(file), ["web.default/b"]);
  t.same(errors, []);

  for (const damaged of ["{", "null", `{"a":1}`, "[1]"]) {
    writeFileSync(file, damaged);
    t.same(await readKnownInstances(file), [], damaged);
  }
  t.equal(readFileSync(file, "utf8"), "[1]");
});

void t.test("row 71: what a sidecar may say about itself", async (t) => {
  const honest: InstanceDeclaration = {
    id: "web-1",
    service: "web",
    namespace: "default",
    address: "10.0.0.7",
    meshPort: 15006,
    appPort: 8080,
    protocol: "grpc",
    weight: 5,
    zone: "a",
    meta: [{ name: "version", value: "2" }],
  };
  const from = { ...web, address: "10.0.0.7" };
  t.match(readDeclaration(honest, "passing", from), {
    id: "web-1",
    address: "10.0.0.7",
    port: 8080,
    meshPort: 15006,
    weight: 5,
    protocol: "grpc",
    meta: { version: "2" },
  });
  t.match(readDeclaration({ ...honest, weight: 0 }, "passing", from), { weight: 1 });
  const local = { ...web, address: "::ffff:127.0.0.1" };
  t.match(readDeclaration({ ...honest, address: "127.0.0.1" }, "passing", local), { address: "127.0.0.1" });

  const refused: readonly [Partial<InstanceDeclaration>, RegExp][] = [
    [{ service: "api" }, /certificate belongs to web\.default: it cannot register "api\.default"/],
    [{ namespace: "prod" }, /cannot register "web\.prod"/],
    [{ id: "" }, /instance id/],
    [{ id: "../x" }, /instance id/],
    [{ id: "a\nb" }, /instance id "a\\nb"/],
    [{ id: "x".repeat(129) }, /instance id/],
    [{ address: "web.example" }, /is not an IP address.*--advertise/],
    [{ address: "0.0.0.0" }, /names no machine/],
    [{ address: "::" }, /names no machine/],
    [{ address: "::ffff:0.0.0.0" }, /names no machine/],
    [{ address: "169.254.169.254" }, /link-local/],
    [{ address: "fe80::1" }, /link-local/],
    [{ address: "224.0.0.1" }, /multicast/],
    [{ address: "127.0.0.1" }, /is loopback, but the sidecar connects from 10\.0\.0\.7/],
    [{ address: "::1" }, /is loopback/],
    [{ address: "::ffff:7f00:1" }, /is loopback/],
    [{ address: "0:0:0:0:0:ffff:127.0.0.1" }, /is loopback/],
    [{ address: "0:0:0:0:0:0:0:0" }, /names no machine/],
    [{ address: "fe80::1%eth0" }, /is not an IP address/],
    [{ meshPort: 0 }, /mesh port 0/],
    [{ meshPort: 70_000 }, /mesh port 70000/],
    [{ appPort: 70_000 }, /application port/],
    [{ protocol: "udp" }, /protocol "udp": must be one of http, http2, grpc, tcp/],
    [{ weight: 70_000 }, /weight/],
    [{ zone: "z".repeat(129) }, /zone/],
    [{ meta: Array.from({ length: 65 }, (_, n) => ({ name: `n${n}`, value: "" })) }, /at most 64/],
    [{ meta: [{ name: "__proto__", value: "x" }] }, /meta name "__proto__"/],
    [{ meta: [{ name: "a", value: "v".repeat(513) }] }, /at most 512/],
  ];
  for (const [change, reason] of refused) {
    const verdict = readDeclaration({ ...honest, ...change }, "passing", from);
    t.match(verdict, reason, String(reason));
    t.notMatch(verdict, /\n/);
  }
  t.equal(parseStatus("warning"), "warning");
  t.equal(parseStatus("toString"), undefined);
});
