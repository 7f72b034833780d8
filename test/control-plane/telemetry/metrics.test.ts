/** docs/control-plane.md lists exactly the metrics that the code has, and each reads what it says. */
import { readFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { createControlPlaneMetrics, readMetrics } from "../../../control-plane/telemetry/metrics.js";

const page = path.resolve(import.meta.dirname, "../../../../docs/control-plane.md");

function metrics() {
  const made = createControlPlaneMetrics();
  readMetrics(made.registry, {
    sidecars: () => 1,
    documents: () => 2,
    policyProblems: () => 3,
    services: () => 4,
    instances: () => new Map([["passing", 5]]),
    registryStaleSeconds: () => 6,
    datacenterStaleSeconds: () => new Map([["dc2", 9]]),
    certificateNotAfterSeconds: () => 7,
    ca: () => ({
      step: "prepared",
      lagging: [{ id: "web-1", reason: "has the older trust bundle 1" }],
      active: { kind: "root", rootFingerprint: "", serial: "", notAfter: "1970-01-01T00:00:09.500Z" },
    }),
  });
  return made;
}

void t.test("the page and the code list the same metrics", async (t) => {
  const own = (await metrics().registry.getMetricsAsJSON()).filter(({ name }) =>
    /^(pilot|remora)_/.test(name),
  );
  const rows = own.map(({ name, type, help }) => {
    const { labelNames } = metrics().registry.getSingleMetric(name) as unknown as { labelNames: string[] };
    return `| \`${name}\` | ${String(type)} | ${labelNames.map((label) => `\`${label}\``).join(", ")} | ${help} |`;
  });
  const documented = readFileSync(page, "utf8")
    .split("\n")
    .filter((line) => /^\| `(pilot|remora)_/.test(line));
  t.same(documented.sort(), rows.sort());
});

void t.test("values are read at the scrape, and two control planes share none", async (t) => {
  const [first, second] = [metrics(), metrics()];
  first.xdsPushes.inc({ type: "cds" }, 8);
  const text = await first.registry.metrics();
  for (const line of [
    "pilot_xds 1",
    "remora_cp_documents 2",
    "remora_cp_policy_problems 3",
    "remora_cp_services 4",
    `remora_cp_instances{status="passing"} 5`,
    "remora_cp_registry_stale_seconds 6",
    "remora_cp_certificate_not_after_seconds 7",
    `remora_cp_datacenter_stale_seconds{datacenter="dc2"} 9`,
    "remora_cp_ca_not_after_seconds 9",
    "remora_cp_ca_rotation_waiting 1",
    `remora_cp_ca_rotation_step{step="prepared"} 1`,
    `remora_cp_ca_rotation_step{step="idle"} 0`,
    `pilot_xds_pushes{type="cds"} 8`,
  ])
    t.ok(text.includes(`\n${line}\n`), line);
  t.notOk((await second.registry.metrics()).includes("pilot_xds_pushes{"));
});
