/** The client's half of the protocol without I/O, alone and against the server's half. */
import assert from "node:assert/strict";
import fc from "fast-check";
import t from "tap";
import { XdsSession } from "../../control-plane/xds/session.js";
import type { SessionResponse } from "../../control-plane/xds/session.js";
import type { Snapshot } from "../../src/config/snapshot.js";
import { encodeCluster } from "../../src/discovery/cluster-resource.js";
import { typeUrls } from "../../src/discovery/resource.js";
import { Subscriptions } from "../../src/discovery/subscriptions.js";
import type { DiscoveryRequest } from "../../src/discovery/subscriptions.js";
import { encodeSnapshot } from "../../src/discovery/xds-resources.js";
import { exampleSnapshot } from "../support/example-snapshot.js";

function toWire({ typeUrl, version, nonce, resources }: SessionResponse): object {
  const anys = resources.map(({ bytes }) => ({ type_url: typeUrl, value: bytes }));
  return { typeUrl, versionInfo: version, nonce, resources: anys };
}

t.test("row 65: garbage is refused with a path, and what was accepted before stays", async (t) => {
  const [api] = exampleSnapshot({ version: "1" }).clusters;
  if (api === undefined) throw new Error("no cluster");
  const good = { type_url: typeUrls.cluster, value: encodeCluster(api) };
  const client = new Subscriptions();
  client.start();
  const accepted = client.receive({
    typeUrl: typeUrls.cluster,
    versionInfo: "v1",
    nonce: "1",
    resources: [good],
  });
  t.match(accepted.requests, [
    { typeUrl: typeUrls.cluster, versionInfo: "v1", responseNonce: "1" },
    { typeUrl: typeUrls.endpoint, resourceNames: ["api.default"] },
  ]);
  const cases: readonly [what: string, resources: unknown, message: RegExp][] = [
    ["no message", [{ ...good, value: Buffer.from([0xff]) }], /^cluster: not a envoy\.config\.cluster/],
    [
      "another type",
      [{ ...good, type_url: typeUrls.route }],
      /resources\[0\]: is .*RouteConfiguration, expected/,
    ],
    ["one good, one bad", [good, { ...good, value: Buffer.alloc(0) }], /^cluster: name: missing/],
    ["one name twice", [good, good], /api\.default comes twice/],
    ["no list", "x", /resources: not a list/],
  ];
  for (const [what, resources, message] of cases) {
    const step = client.receive({ typeUrl: typeUrls.cluster, versionInfo: "v2", nonce: what, resources });
    t.match(
      step.requests,
      [{ versionInfo: "v1", responseNonce: what, errorDetail: { code: 3, message } }],
      what,
    );
    t.match(step.refusal, message);
  }
  t.same(client.receive({ typeUrl: "x/unknown", resources: [] }).requests, [], "a type nobody asked for");
});

t.test("resources nobody asked for are not kept", async (t) => {
  const client = new Subscriptions();
  client.start();
  const resources = encodeSnapshot(exampleSnapshot({ version: "1", services: ["api", "spam"] }));
  const only = encodeSnapshot(exampleSnapshot({ version: "1", services: ["api"] }));
  const send = (from: typeof only, typeUrl: string): ReturnType<Subscriptions["receive"]> => {
    const set = from.get(typeUrl);
    const list = [...(set?.resources.values() ?? [])];
    return client.receive(toWire({ typeUrl, version: "1", nonce: "1", resources: list }));
  };
  send(only, typeUrls.cluster);
  send(only, typeUrls.listener);
  send(resources, typeUrls.endpoint);
  send(resources, typeUrls.route);
  const { candidate } = send(only, typeUrls.snapshot);
  t.same(candidate, exampleSnapshot({ version: "1", services: ["api"] }));
});

type Action =
  | {
      readonly type: "publish";
      readonly services: readonly string[];
      readonly port: number;
      readonly prefix: string;
    }
  | { readonly type: "write" | "toClient" | "toServer" };

const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 1, arbitrary: publish() },
  { weight: 3, arbitrary: fc.constant({ type: "write" as const }) },
  { weight: 3, arbitrary: fc.constant({ type: "toClient" as const }) },
  { weight: 3, arbitrary: fc.constant({ type: "toServer" as const }) },
);

function publish(): fc.Arbitrary<Action> {
  return fc.record({
    type: fc.constant("publish" as const),
    services: fc.subarray(["api", "orders", "web"]),
    port: fc.constantFrom(1, 2, 3),
    prefix: fc.constantFrom("/", "/a", "/refused"),
  });
}

t.test("whatever the order of messages: only whole snapshots, and in the end the newest", async (t) => {
  fc.assert(
    fc.property(fc.array(action, { minLength: 10, maxLength: 120 }), (actions) => {
      const mesh = new Simulation();
      for (const each of actions) mesh.run(each);
      mesh.settle();
      mesh.check();
      // Whatever was refused: a good one still gets through.
      mesh.run({ type: "publish", services: ["api", "web"], port: 4, prefix: "/last" });
      mesh.settle();
      mesh.check();
      assert.equal(mesh.session.state(), "SYNCED");
    }),
    { numRuns: 500 },
  );
  t.pass("500 runs");
});

/** One client and one server with a wire between them that holds messages back. */
class Simulation {
  readonly session = new XdsSession();
  readonly #client = new Subscriptions();
  readonly #toServer: DiscoveryRequest[] = this.#client.start();
  readonly #toClient: SessionResponse[] = [];
  #moves = 0;
  #newest: Snapshot | undefined;
  #applied: Snapshot | undefined;
  readonly #published = new Map<string, Snapshot>();

  run(action: Action): void {
    switch (action.type) {
      case "publish": {
        const { services, port, prefix } = action;
        const version = [...services, port, prefix].join(" ");
        this.#newest = exampleSnapshot({ version, services, port, prefix });
        this.#published.set(version, this.#newest);
        return this.session.retarget({ version, resources: encodeSnapshot(this.#newest) });
      }
      case "write": {
        const response = this.session.next();
        if (response === undefined) return;
        this.#moves++;
        this.#toClient.push(response);
        return;
      }
      case "toClient": {
        const response = this.#toClient.shift();
        if (response === undefined) return;
        this.#moves++;
        return this.#receive(response);
      }
      case "toServer": {
        const request = this.#toServer.shift();
        if (request === undefined) return;
        this.#moves++;
        const { typeUrl, responseNonce, resourceNames, errorDetail } = request;
        this.session.receive({
          typeUrl,
          nonce: responseNonce,
          names: resourceNames,
          refusal: errorDetail?.message,
        });
      }
    }
  }

  /** Lets everything flow until nothing moves; there must be an end to it. */
  settle(): void {
    for (let i = 0; i < 1000; i++) {
      const before = this.#moves;
      for (const type of ["write", "toClient", "toServer"] as const) this.run({ type });
      if (this.#moves === before) return;
    }
    throw new Error("client and server never come to rest");
  }

  check(): void {
    if (this.#newest === undefined) return;
    const isRefused = this.#newest.virtualHosts.length > 0 && this.#newest.version.includes("/refused");
    assert.equal(this.session.state(), isRefused ? "NACK" : "SYNCED");
    if (!isRefused) assert.deepStrictEqual(this.#applied, this.#newest);
    if (!isRefused) assert.equal(this.session.ackedVersion, this.#newest.version);
  }

  #receive(response: SessionResponse): void {
    const { requests, candidate } = this.#client.receive(toWire(response));
    this.#toServer.push(...requests);
    if (candidate === undefined) return;
    assert.deepStrictEqual(candidate, this.#published.get(candidate.version));
    const isRefused = candidate.version.includes("/refused") && candidate.virtualHosts.length > 0;
    if (!isRefused) this.#applied = candidate;
    this.#toServer.push(...this.#client.settle(isRefused ? "refused" : undefined));
  }
}
