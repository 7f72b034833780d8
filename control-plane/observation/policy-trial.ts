import { ConfigError } from "../../src/errors/config-error.js";
import { withEntry, type Intention } from "../catalog/intention.js";
import { compileInbound } from "../compiler/compile-inbound.js";
import { indexMesh } from "../compiler/mesh-index.js";
import type { MeshModel } from "../compiler/mesh-model.js";
import { serviceKey } from "../compiler/service-name.js";
import type { StoredDocument } from "../policy-store/stored-document.js";
import type { ServiceCalls, ServiceName } from "./call-table.js";
import { comparePolicies, type ConfigOf, type PolicyComparison, type Turn } from "./compare-policies.js";
import { doubtsOf } from "./observation-doubts.js";

/** What new documents, or intentions, would change for the calls that were observed. */
export interface PolicyTrial extends PolicyComparison {
  /** Why the answer may be incomplete, one line each. */
  readonly doubts: readonly string[];
}

export interface TrialOptions {
  /** As it is now. undefined: the registry was not read yet. */
  readonly model: MeshModel | undefined;
  /** Documents as they would be. */
  readonly documents: readonly StoredDocument[];
  /** Entries of Consul (kind service-intentions) as they would be. */
  readonly intentions?: readonly unknown[];
  readonly observed: readonly ServiceCalls[];
  /** Only these services. */
  readonly isAsked: (service: ServiceName) => boolean;
  /** As of comparePolicies. */
  readonly turn?: Turn;
  readonly nowMs: number;
}

/**
 * Judges what was observed by what is in force and by what would be.
 *
 * @throws ConfigError when there is no model yet, or nobody goes by the intentions.
 */
export async function tryPolicies(options: TrialOptions): Promise<PolicyTrial> {
  const { model, documents, intentions = [], observed, isAsked, nowMs } = options;
  if (model === undefined)
    throw new ConfigError("the registry was not read yet: try again when the control plane is ready");
  const before = configsOf(model);
  const after = configsOf({ ...model, documents, intentions: intentionsWith(model, intentions) });
  const comparison = await comparePolicies(observed.filter(isAsked), before, after, options.turn);
  const isChanged = (name: ServiceName): boolean =>
    JSON.stringify(before(name)) !== JSON.stringify(after(name));
  const known = new Map(observed.map((seen) => [serviceKey(seen.service, seen.namespace), seen]));
  const inCatalog = [...model.catalog.services.values()].map(({ name, namespace }) => ({
    service: name,
    namespace,
  }));
  const all = new Map(
    [...inCatalog, ...observed].map((name) => [serviceKey(name.service, name.namespace), name]),
  );
  const doubts = [...all]
    .filter(([, name]) => isAsked(name) && isChanged(name))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([key]) => {
      const seen = known.get(key);
      if (seen === undefined) return [`${key}: no call was observed, so nothing can be said about it`];
      return doubtsOf(seen, nowMs).map((doubt) => `${key}: ${doubt}`);
    });
  return { ...comparison, doubts };
}

function intentionsWith({ intentions }: MeshModel, entries: readonly unknown[]): MeshModel["intentions"] {
  if (entries.length === 0) return intentions;
  if (intentions === undefined)
    throw new ConfigError(
      "this mesh does not go by Consul's intentions: start the control plane with --intentions or --ca consul",
    );
  const list = entries.reduce<readonly Intention[]>((before, entry) => {
    const next = withEntry(before, entry);
    if (next !== undefined) return next;
    throw new ConfigError(
      'no entry of kind service-intentions: give what "consul config read -kind service-intentions -name NAME" prints',
    );
  }, intentions.list);
  return { ...intentions, list };
}

function configsOf(model: MeshModel): ConfigOf {
  const index = indexMesh(model);
  return ({ service, namespace }) =>
    compileInbound(index, serviceKey(service, namespace)).authorization ?? { stages: [] };
}
