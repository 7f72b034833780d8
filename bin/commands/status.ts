import { openAdminClient } from "../admin-client.js";
import type { DatacenterView } from "../../control-plane/admin/views.js";
import type { CommandBody } from "../command.js";
import { exitCodes } from "../failure.js";
import { readMesh, type MeshReport } from "../mesh-report.js";
import { age } from "../output/age.js";
import { paintFor, type Paint } from "../output/paint.js";
import { printJson, printLines } from "../output/print.js";
import { printable, table } from "../output/table.js";
import type { statusSettings } from "../settings/client-settings.js";

/** `remora status` */
export const status: CommandBody<typeof statusSettings> = async (settings, _operands, terminal) => {
  const client = await openAdminClient(settings, terminal);
  const report = await readMesh(client);
  if (settings.output === "json") {
    printJson(terminal, report);
    return exitCodes.ok;
  }
  const nowMs = terminal.clock.wallMs();
  printLines(terminal, controlPlaneLines(client.url, report, nowMs, paintFor(terminal)));
  terminal.out(sidecarTable(report, nowMs));
  return exitCodes.ok;
};

function controlPlaneLines(
  url: string,
  { controlPlane }: MeshReport,
  nowMs: number,
  paint: Paint,
): readonly string[] {
  const { version, trustDomain, startedAtMs, registry, documents, problems } = controlPlane;
  const state = freshness(registry, nowMs, paint);
  const counts = `${registry.services} services, ${registry.instances} instances`;
  return [
    `control plane  ${url}, version ${version}, trust domain ${trustDomain}, up ${age(nowMs - startedAtMs)}`,
    `registry       ${registry.kind}, ${state}, ${counts}`,
    ...(registry.datacenters ?? []).map(
      (each) =>
        `  datacenter   ${printable(each.name)}, ${freshness(each, nowMs, paint)}, ${servicesOf(each)}`,
    ),
    ...registry.refused.map(({ service, reason }) =>
      paint.yellow(`  refused      ${printable(`${service}: ${reason}`)}`),
    ),
    `policies       ${documents} in force, ${problems.length} problems`,
    ...problems.map(({ message }) => paint.red(`  problem      ${printable(message)}`)),
    "",
  ];
}

function freshness(
  { isRead, stale }: Pick<DatacenterView, "isRead" | "stale">,
  nowMs: number,
  paint: Paint,
): string {
  const why = stale === null ? "" : printable(stale.reason);
  if (!isRead) return paint.yellow(why === "" ? "not read yet" : `not read yet: ${why}`);
  return stale === null ? "current" : paint.yellow(`stale for ${age(nowMs - stale.sinceMs)}: ${why}`);
}

/** `api.default: 1 of 2 instances well`; warnings are routed to. */
function servicesOf({ services }: DatacenterView): string {
  if (services.length === 0) return "has none of the services that policies fail over to";
  return services
    .map(({ service, instances }) => {
      const well = instances.filter(({ status }) => status === "passing" || status === "warning").length;
      return `${printable(service)}: ${well} of ${instances.length} instances well`;
    })
    .join("; ");
}

function sidecarTable({ controlPlane, sidecars }: MeshReport, nowMs: number): string {
  if (sidecars.length === 0)
    return "no sidecar is connected; start one with remora run --service NAME --port PORT -- COMMAND\n";
  const rows = sidecars.map((sidecar) => [
    sidecar.id,
    `${sidecar.service}.${sidecar.namespace}`,
    sidecar.address,
    (sidecar.ackedVersion ?? "").slice(0, 12),
    trustText(sidecar.trustVersion, controlPlane.trustVersion),
    sidecar.state,
    age(nowMs - sidecar.connectedAtMs),
    sidecar.nackReason ?? "",
  ]);
  return table(["NAME", "SERVICE", "ADDRESS", "CONFIG", "TRUST", "STATE", "CONNECTED", "REASON"], rows);
}

/** Which roots and revocations a sidecar has. Control plane and sidecar may be of versions that did not say. */
function trustText(own: string | null | undefined, newest: string | undefined): string {
  if (own === null || own === undefined) return "none";
  return own === newest ? own.slice(0, 8) : `${own.slice(0, 8)} (old)`;
}
