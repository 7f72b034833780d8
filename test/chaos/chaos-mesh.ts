import path from "node:path";
import { call } from "../support/http-load.js";
import {
  metric,
  startMesh,
  type CliMesh,
  type MeshOwner,
  type Place,
  type Running,
} from "../support/cli-mesh.js";
import { until } from "../support/until.js";

export const chaosApp: readonly string[] = [
  process.execPath,
  path.resolve(import.meta.dirname, "../support/chaos-app.js"),
];

/** What the team of the failing services would write. */
const documents = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: catalog}
spec:
  parentRefs: [{group: "", kind: Service, name: catalog}]
  rules:
  - backendRefs: [{name: catalog}]
    retry: {codes: [502, 503, 504], attempts: 2, backoff: 10ms}
    timeouts: {request: 2s, backendRequest: 500ms}
${["orders", "payment", "bank"]
  .map(
    (name) => `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ${name}}
spec:
  parentRefs: [{group: "", kind: Service, name: ${name}}]
  rules:
  - backendRefs: [{name: ${name}}]
    retry: {codes: [502, 503, 504], attempts: 2, backoff: 10ms}
`,
  )
  .join("")}`;

/** Services that have no part in any failure. */
export const bystanders = ["search", "reviews", "users", "mail"] as const;

/**
 * Ten services as processes of their own, each application with a sidecar: shop calls catalog (four instances), prices, and
 * orders -> payment -> bank; search, reviews, users and mail stand by.
 */
export class ChaosMesh {
  readonly mesh: CliMesh;
  readonly shop: Running;
  readonly catalog: Running[];
  readonly prices: Running;
  /** orders, payment, bank. */
  readonly chain: readonly Running[];

  private constructor(mesh: CliMesh, parts: Pick<ChaosMesh, "shop" | "catalog" | "prices" | "chain">) {
    this.mesh = mesh;
    this.shop = parts.shop;
    this.catalog = parts.catalog;
    this.prices = parts.prices;
    this.chain = parts.chain;
  }

  static async start(owner: MeshOwner): Promise<ChaosMesh> {
    const mesh = await startMesh(owner);
    await mesh.apply(documents);
    const join = (service: string, next?: string, name = service): Promise<Running> =>
      mesh.join({
        ...{ name, service, command: chaosApp },
        ...(next !== undefined && { upstreams: [next], env: { NEXT: next } }),
      });
    // A few at once: all of them together would take longer than each of them may.
    const [prices, ...chain] = await Promise.all([
      join("prices"),
      join("orders", "payment"),
      join("payment", "bank"),
      join("bank"),
    ]);
    const catalog = await Promise.all([1, 2, 3, 4].map((n) => join("catalog", undefined, `catalog-${n}`)));
    const upstreams = ["catalog", "prices", "orders", ...bystanders];
    const [shop] = await Promise.all([
      mesh.join({ name: "shop", service: "shop", upstreams, command: [] }),
      ...bystanders.map((service) => join(service)),
    ]);
    const made = new ChaosMesh(mesh, { shop, catalog, prices, chain });
    await made.untilWell();
    return made;
  }

  /** Port of shop's sidecar for a service. */
  port(service: string): number {
    return this.shop.upstreams.get(service) ?? 0;
  }

  async set({ app }: Place, mode: string, ms = 0): Promise<void> {
    await call({ port: app, method: "POST", path: `/mode?is=${mode}&ms=${ms}` });
  }

  /** Requests that an application got since it was last asked. */
  async received({ app }: Place): Promise<number> {
    return Number((await call({ port: app, path: "/received" })).body);
  }

  /** Application and sidecar go without a word. */
  async crash(place: Running): Promise<void> {
    await place.process.kill();
  }

  async restart(place: Running): Promise<void> {
    place.process = this.mesh.run(place);
    await until(
      `${place.name} is back`,
      async () => (await call({ port: place.app, path: "/health" })).status === 200,
    );
  }

  /** All instances are known, none is ejected, and requests succeed. */
  async untilWell(): Promise<void> {
    await this.mesh.untilKnown(this.shop, "catalog", this.catalog);
    for (const service of ["catalog", "prices", "orders"]) {
      const wanted = service === "catalog" ? this.catalog.length : 1;
      const target = service === "orders" ? "/chain" : "/";
      await until(`${service} is well`, async () => {
        for (let n = 0; n < 4 * wanted; n++) await call({ port: this.port(service), path: target });
        const labels = { envoy_cluster_name: `${service}.default` };
        const healthy = await metric(this.shop.admin, "envoy_cluster_membership_healthy", labels);
        return healthy === wanted && (await call({ port: this.port(service), path: target })).status === 200;
      });
    }
  }
}
