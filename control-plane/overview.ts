import { version } from "../src/version.js";
import type { TrustSource } from "../src/identity/mesh-trust.js";
import type { CertificateSource } from "../src/identity/svid.js";
import type { Clock } from "../src/time/clock.js";
import type { AdminSubject } from "./admin/routes.js";
import { viewRegistry, type SidecarView } from "./admin/views.js";
import type { LatestValue } from "../src/lifecycle/latest-value.js";
import type { Catalog, StaleSince } from "./catalog/catalog.js";
import type { OtherDatacenters } from "./catalog/other-datacenters.js";
import type { Intentions } from "./catalog/intention.js";
import { conditionsOf } from "./compiler/conditions.js";
import type { MeshModel } from "./compiler/mesh-model.js";
import type { PolicyStore } from "./policy-store/directory.js";
import type { MetricSources } from "./telemetry/metrics.js";

export interface OverviewParts {
  readonly mesh: Pick<MeshModel, "trustDomain" | "datacenter">;
  readonly startedAtMs: number;
  readonly trust: TrustSource;
  readonly catalog: Catalog;
  /** undefined: the registry has none. */
  readonly datacenters: LatestValue<OtherDatacenters | undefined> | undefined;
  /** undefined: nobody asks for them. */
  readonly intentions: LatestValue<Intentions | undefined> | undefined;
  readonly store: PolicyStore;
  readonly certificates: CertificateSource;
  readonly sidecars: () => readonly SidecarView[];
  readonly clock: Clock;
}

/** What the control plane knows of itself and its mesh, read when somebody asks. */
export interface Overview extends Pick<
  AdminSubject,
  "notReady" | "status" | "catalog" | "sidecars" | "conditions"
> {
  readonly metricSources: Omit<MetricSources, "ca">;
}

export function createOverview(parts: OverviewParts): Overview {
  const { catalog, store, sidecars, clock } = parts;
  const state = () => catalog.state.get();
  const datacenters = () => parts.datacenters?.get();
  const instances = () => [...(state()?.services.values() ?? [])].flatMap((service) => service.instances);
  return {
    notReady: () =>
      state() !== undefined
        ? parts.intentions !== undefined && parts.intentions.get() === undefined
          ? "Consul's intentions could not be read yet: see the log for what Consul answers"
          : undefined
        : catalog.kind === "consul"
          ? "the registry could not be read yet: see the log for what Consul answers"
          : "waiting for the sidecars that were here before the restart",
    status: () => ({
      version,
      trustDomain: parts.mesh.trustDomain,
      trustVersion: parts.trust.get().version,
      startedAtMs: parts.startedAtMs,
      registry: viewRegistry(catalog.kind, state(), datacenters()),
      documents: store.documents.get().length,
      problems: store.problems.get(),
      sidecars: sidecars().length,
    }),
    catalog: state,
    sidecars,
    conditions: lastConditions(parts),
    metricSources: {
      sidecars: () => sidecars().length,
      documents: () => store.documents.get().length,
      policyProblems: () => store.problems.get().length,
      services: () => state()?.services.size ?? 0,
      instances: () => {
        const counts = new Map([
          ["passing", 0],
          ["warning", 0],
          ["critical", 0],
          ["maintenance", 0],
        ]);
        for (const { status } of instances()) counts.set(status, (counts.get(status) ?? 0) + 1);
        return counts;
      },
      registryStaleSeconds: () => staleSeconds(state()?.staleSince, clock),
      datacenterStaleSeconds: () =>
        new Map(
          [...(datacenters()?.others ?? [])].map(([name, { staleSince }]) => [
            name,
            staleSeconds(staleSince, clock),
          ]),
        ),
      certificateNotAfterSeconds: () => (parts.certificates.get()?.notAfterMs ?? 0) / 1000,
    },
  };
}

function staleSeconds(since: StaleSince | undefined, clock: Clock): number {
  return since === undefined ? 0 : Math.max(0, clock.wallMs() - since.wallMs) / 1000;
}

/**
 * Conditions of the documents as they are stored now, which may be a moment before sidecars get them; worked out again
 * only when registry, documents, or what is known of the sidecars have changed.
 */
function lastConditions(parts: OverviewParts): Overview["conditions"] {
  let known:
    | {
        readonly model: MeshModel;
        readonly stores: string;
        readonly conditions: ReturnType<typeof conditionsOf>;
      }
    | undefined;
  return (others) => {
    const catalog = parts.catalog.state.get();
    if (catalog === undefined) return new Map();
    const datacenters = parts.datacenters?.get();
    const sidecars = parts.sidecars();
    if (others !== undefined)
      return conditionsOf({ ...parts.mesh, catalog, datacenters, documents: others }, sidecars);
    const documents = parts.store.documents.get();
    const stores = JSON.stringify(
      sidecars.map(({ service, namespace, hasRedis }) => [service, namespace, hasRedis]),
    );
    const isKnown =
      known?.model.catalog === catalog &&
      known.model.documents === documents &&
      known.model.datacenters === datacenters &&
      known.stores === stores;
    if (known === undefined || !isKnown) {
      const model = { ...parts.mesh, catalog, datacenters, documents };
      known = { model, stores, conditions: conditionsOf(model, sidecars) };
    }
    return known.conditions;
  };
}
