import { serviceName } from "../../src/config/documents/field.js";
import { serviceLabels, type ServiceSelector } from "../../src/config/documents/service-selector.js";
import type { Report } from "./field-checks.js";

/** A selector must name one service: with a label that Remora does not know, it would hold for all or for none. */
export function checkSelector(selector: ServiceSelector | undefined, report: Report): void {
  const labels = Object.entries(selector?.matchLabels ?? {});
  const path = ["spec", "selector", "matchLabels"];
  if (labels.length > 1) report(path, `has ${labels.length} labels: one names the service`);
  for (const [label, value] of labels) {
    if (!(serviceLabels as readonly string[]).includes(label))
      report(path, `"${label}" names no service: Remora knows ${serviceLabels.join(", ")}`);
    const named = serviceName().safeParse(value);
    if (!named.success) report([...path, label], named.error.issues[0]?.message ?? "is not a name");
  }
}
