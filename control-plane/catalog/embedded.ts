import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock } from "../../src/time/clock.js";
import type { Catalog, CatalogService, CatalogState, Instance, InstanceStatus } from "./catalog.js";

export interface EmbeddedCatalogOptions {
  readonly clock: Clock;
  /**
   * Keys (instanceKey) of the instances that were there before a restart. Until all of them are back, or settleMs are
   * over, the state stays undefined, so that a restarted control plane does not empty the mesh. Default none.
   */
  readonly known?: readonly string[];
  /** Longest wait for known instances, milliseconds. Default 5000: twice the longest pause of a sidecar's reconnect. */
  readonly settleMs?: number;
  /** Instances of all services together; further ones are refused. Default 10000. */
  readonly maxInstances?: number;
  /** Instances of one service, so that one identity cannot use up the room of all. Default 1000. */
  readonly maxServiceInstances?: number;
}

/** The control plane's own registry: an instance is there as long as its sidecar's registration stream is. */
export interface EmbeddedCatalog extends Catalog {
  readonly kind: "embedded";
  /**
   * Adds an instance. An instance of the same service with the same id is replaced, for its stream may be half dead;
   * `onReplaced` then tells its owner.
   *
   * @returns undefined when the registry, or its share of one service, is full.
   */
  add(service: ServiceName, instance: Instance, onReplaced: () => void): Registration | undefined;
}

/** Names an instance in the whole mesh: what `known` holds. */
export function instanceKey(name: ServiceName, id: string): string {
  return `${name.service}.${name.namespace}/${id}`;
}

export interface ServiceName {
  readonly service: string;
  readonly namespace: string;
}

/** One instance in the registry; does nothing any more once the instance was replaced or removed. */
export interface Registration {
  setStatus(status: InstanceStatus): void;
  remove(): void;
}

/** Services that once had an instance stay listed, so that calls are answered "no healthy upstream", not "no route". */
const maxEmptyServices = 1000;

interface Entry {
  instance: Instance;
  readonly onReplaced: () => void;
}

export function createEmbeddedCatalog(options: EmbeddedCatalogOptions): EmbeddedCatalog {
  const { clock, settleMs = 5000, maxInstances = 10_000, maxServiceInstances = 1000 } = options;
  const missing = new Set(options.known);
  /** Key: `<service>.<namespace>`; inner key: instance id, in order of arrival. */
  const services = new Map<string, { readonly name: ServiceName; readonly entries: Map<string, Entry> }>();
  const published = new Map<string, CatalogService>();
  const state = new LatestValue<CatalogState | undefined>(
    missing.size === 0 ? { services: new Map(), staleSince: undefined } : undefined,
  );
  let count = 0;
  let isSettled = missing.size === 0;

  const publish = (key: string): void => {
    const service = services.get(key);
    if (service === undefined) published.delete(key);
    else
      published.set(key, {
        name: service.name.service,
        namespace: service.name.namespace,
        instances: [...service.entries.values()].map((entry) => entry.instance),
      });
    if (isSettled) state.set({ services: new Map(published), staleSince: undefined });
  };
  const settle = (): void => {
    settling.cancel();
    isSettled = true;
    state.set({ services: new Map(published), staleSince: undefined });
  };
  const settling = clock.timer(isSettled ? 0 : settleMs, () => {
    if (!isSettled) settle();
  });
  const forgetEmpty = (): void => {
    const empty = [...services].filter(([, service]) => service.entries.size === 0);
    for (const [key] of empty.slice(0, Math.max(0, empty.length - maxEmptyServices))) {
      services.delete(key);
      published.delete(key);
    }
  };

  return {
    kind: "embedded",
    state,
    add(name, instance, onReplaced) {
      const key = `${name.service}.${name.namespace}`;
      const service = services.get(key) ?? { name, entries: new Map<string, Entry>() };
      const previous = service.entries.get(instance.id);
      const isFull = count >= maxInstances || service.entries.size >= maxServiceInstances;
      if (previous === undefined && isFull) return undefined;
      const entry: Entry = { instance, onReplaced };
      services.set(key, service);
      service.entries.set(instance.id, entry);
      if (previous === undefined) count++;
      publish(key);
      previous?.onReplaced();
      if (missing.delete(instanceKey(name, instance.id)) && missing.size === 0 && !isSettled) settle();
      const isCurrent = (): boolean => service.entries.get(instance.id) === entry;
      return {
        setStatus(status) {
          if (!isCurrent() || entry.instance.status === status) return;
          entry.instance = { ...entry.instance, status };
          publish(key);
        },
        remove() {
          if (!isCurrent()) return;
          service.entries.delete(instance.id);
          count--;
          if (service.entries.size === 0) forgetEmpty();
          publish(key);
        },
      };
    },
    close() {
      settling.cancel();
      return Promise.resolve();
    },
  };
}
