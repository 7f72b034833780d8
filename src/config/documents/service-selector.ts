import { z } from "zod";

/** Namespaces whose policies without a target hold for the whole mesh: Remora's, and Istio's by its usual name. */
export const meshNamespaces: readonly string[] = ["remora-system", "istio-system"];

/** Labels of a selector that name a service. */
export const serviceLabels = ["app", "app.kubernetes.io/name", "service.istio.io/canonical-name"] as const;

/** Istio's way to name workloads, of which Remora knows services. */
export const ServiceSelector = z.strictObject({
  matchLabels: z
    .record(z.string(), z.string())
    .describe(`The service's name as one of ${serviceLabels.join(", ")}.`),
});
export type ServiceSelector = z.infer<typeof ServiceSelector>;

/** Name of the service; undefined: none is named. */
export function selectedService(selector: ServiceSelector | undefined): string | undefined {
  return Object.values(selector?.matchLabels ?? {})[0];
}
