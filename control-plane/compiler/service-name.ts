import type { CatalogState } from "../catalog/catalog.js";

/** `<service>.<namespace>`: how clusters, virtual hosts and the catalog call a service. */
export function serviceKey(service: string, namespace: string): string {
  return `${service}.${namespace}`;
}

/** The parts of a key; a name without namespace belongs to `defaultNamespace`. Namespaces have no dot. */
export function splitServiceKey(
  key: string,
  defaultNamespace: string,
): { readonly service: string; readonly namespace: string } {
  const dot = key.lastIndexOf(".");
  if (dot === -1) return { service: key, namespace: defaultNamespace };
  return { service: key.slice(0, dot), namespace: key.slice(dot + 1) };
}

const servicePattern = /^[a-z0-9][-a-z0-9_]{0,62}$/;
const namespacePattern = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** Whether a name from a registry may become part of host names, identities and file names. */
export function isMeshName(service: string, namespace: string): boolean {
  return servicePattern.test(service) && namespacePattern.test(namespace);
}

/** Services of the registry that the mesh leaves out because of their name, with the reason, for `remora check`. */
export function refusedServices(
  catalog: CatalogState,
): readonly { readonly service: string; readonly reason: string }[] {
  return [...catalog.services.values()]
    .filter((service) => !isMeshName(service.name, service.namespace))
    .map((service) => ({
      service: serviceKey(service.name, service.namespace),
      reason: "its name is not made of a-z, 0-9, - and _: register it under another one",
    }));
}
