import type { EndpointConfig, MtlsMode } from "../../src/config/snapshot.js";
import { addressKind } from "../../src/traffic/address-kind.js";
import type { CatalogService, Instance } from "../catalog/catalog.js";

/** Largest weight of an endpoint, as in Consul. */
const maxWeight = 65_535;

/**
 * The endpoints of a service: passing and warning instances with an acceptable address, sorted, each address and port
 * once. Instances without a sidecar too, also where plaintext is not permitted: callers never use them then, but have to
 * know that they are there to say why a request fails.
 *
 * @param countsDown whether failing instances are told too, as `isDown`, to whom it matters how many are missing.
 */
export function compileEndpoints(
  service: CatalogService,
  mtlsMode: MtlsMode,
  countsDown = false,
): readonly EndpointConfig[] {
  const endpoints = new Map<string, EndpointConfig>();
  const instances = [...service.instances].sort(compareInstances);
  // Of two at one address, the one that serves is the one that counts.
  const serving = instances.filter(isServing);
  const failing = countsDown ? instances.filter((instance) => !isServing(instance)) : [];
  for (const instance of [...serving, ...failing]) {
    const endpoint = endpointOf(instance, mtlsMode);
    if (endpoint === undefined) continue;
    const key = `${endpoint.address} ${endpoint.port}`;
    if (!endpoints.has(key)) endpoints.set(key, endpoint);
  }
  return [...endpoints.values()].sort(
    (a, b) => compareText(a.address, b.address) || a.port - b.port || compareText(a.instance, b.instance),
  );
}

function endpointOf(instance: Instance, mtlsMode: MtlsMode): EndpointConfig | undefined {
  const isMeshed = instance.meshPort !== undefined && mtlsMode !== "DISABLE";
  const port = isMeshed ? (instance.meshPort ?? 0) : instance.port;
  if (!Number.isInteger(port) || port < 1 || port > 65_535 || !isRoutable(instance.address)) return undefined;
  return {
    address: instance.address,
    port,
    meshed: isMeshed,
    weight: weightOf(instance.weight),
    zone: instance.zone,
    instance: instance.id,
    meta: instance.meta,
    ...(isServing(instance) ? {} : { isDown: true }),
  };
}

function isServing({ status }: Instance): boolean {
  return status === "passing" || status === "warning";
}

function weightOf(weight: number): number {
  return Number.isFinite(weight) ? Math.min(maxWeight, Math.max(1, Math.round(weight))) : 1;
}

/**
 * Whether a registered address may be dialled: an IP literal of one host. Link-local addresses are refused because the
 * metadata services of clouds listen there, and a registry is not to be trusted that far. Loopback is what several
 * services on one machine use.
 */
export function isRoutable(address: string): boolean {
  const kind = addressKind(address);
  return kind === "host" || kind === "loopback";
}

function compareInstances(a: Instance, b: Instance): number {
  return compareText(a.id, b.id) || compareText(a.address, b.address) || a.port - b.port;
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
