/** What `remora check` looks at, judged. Pure: the mesh as it was read in, lines for people and programs out. */
import type { CertificateSummary } from "../certs/inspect.js";
import type { ServedCertificatesView } from "../control-plane/admin/served-certificates.js";
import type { DocumentView, ServiceView, SidecarView } from "../control-plane/admin/views.js";
import type { Document } from "../src/config/documents/document.js";
import type { MeshReport } from "./mesh-report.js";
import { caLine, certificateLines, leafLines } from "./check-certificates.js";
import { failed, ok, warning, type CheckLine } from "./check-line.js";
import { age } from "./output/age.js";

export interface CheckSection {
  readonly title: string;
  readonly lines: readonly CheckLine[];
}

/** Everything that the checks judge. */
export interface CheckSubject extends MeshReport {
  readonly url: string;
  readonly roots: readonly CertificateSummary[];
  /** undefined: a control plane of an older version. */
  readonly served: ServedCertificatesView | undefined;
  readonly documents: readonly DocumentView[];
  /** Version of this command. */
  readonly version: string;
  readonly nowMs: number;
}

export function checkMesh(subject: CheckSubject): readonly CheckSection[] {
  return [
    { title: "control plane", lines: controlPlaneLines(subject) },
    { title: "policies", lines: policyLines(subject) },
    { title: "sidecars", lines: sidecarLines(subject) },
    { title: "certificates", lines: servedLines(subject) },
    { title: "services", lines: serviceLines(subject) },
    { title: "versions", lines: [versionLine(subject)] },
  ];
}

/** The only section there is when the control plane cannot be asked. @param message `cause; fix` */
export function checkUnreachable(message: string): readonly CheckSection[] {
  const at = message.indexOf("; ");
  const text = at === -1 ? message : message.slice(0, at);
  const fix = at === -1 ? "see the log of the control plane" : message.slice(at + 2);
  return [{ title: "control plane", lines: [{ state: "failed", text, fix }] }];
}

/** Has none of the checks failed? */
export function isPassed(sections: readonly CheckSection[]): boolean {
  return sections.every(({ lines }) => lines.every(({ state }) => state !== "failed"));
}

function controlPlaneLines({ url, controlPlane, roots, nowMs }: CheckSubject): readonly CheckLine[] {
  const { registry } = controlPlane;
  const lines: CheckLine[] = [
    ok(`control plane at ${url} answers`),
    ...roots.map((root) => caLine(root, nowMs)),
  ];
  if (!registry.isRead)
    lines.push(failed(`the ${registry.kind} registry was not read yet`, registryFix(registry.kind)));
  else if (registry.stale !== null)
    lines.push(
      failed(
        `the ${registry.kind} registry cannot be read since ${age(nowMs - registry.stale.sinceMs)}: ${registry.stale.reason}`,
        registryFix(registry.kind),
      ),
    );
  else lines.push(ok(`the ${registry.kind} registry is readable: ${registry.services} services`));
  for (const { name, isRead, stale } of registry.datacenters ?? []) {
    const since = stale === null ? "" : ` since ${age(nowMs - stale.sinceMs)}: ${stale.reason}`;
    if (stale === null && isRead) lines.push(ok(`datacenter ${name} is readable`));
    else
      lines.push(
        warning(
          `datacenter ${name} ${isRead ? "cannot be read" : "was not read yet"}${since}`,
          isRead ? "its last known instances stay in force" : "nothing fails over to it until it is",
        ),
      );
  }
  for (const { service, reason } of registry.refused)
    lines.push(warning(`service ${service} is left out: ${reason}`, "rename it in the registry"));
  return lines;
}

function registryFix(kind: string): string {
  return kind === "consul"
    ? "see the log of the control plane, and whether `consul members` works there"
    : "wait until the sidecars that were known before the restart are back";
}

function policyLines({ controlPlane, documents }: CheckSubject): readonly CheckLine[] {
  const broken = controlPlane.problems.map(({ message }) =>
    failed(message, "correct the file, or apply a correct one with remora apply -f"),
  );
  const notes = documents.flatMap(({ kind, namespace, name, conditions }) =>
    conditions
      .filter(
        ({ type, status }) => (type === "PartiallyInvalid" || type === "Surprising") === (status === "True"),
      )
      .map(({ message }) =>
        warning(
          `${kind}/${namespace}/${name}: ${message}`,
          `see remora get ${kind} ${name} -n ${namespace} -o yaml`,
        ),
      ),
  );
  const all = [...broken, ...notes];
  return all.length > 0 ? all : [ok(`${controlPlane.documents} policies, none with a problem`)];
}

function sidecarLines({ sidecars, served, nowMs }: CheckSubject): readonly CheckLine[] {
  if (sidecars.length === 0)
    return [
      warning("no sidecar is connected", "start one: remora run --service NAME --port PORT -- COMMAND"),
    ];
  const shown = new Set(
    served?.sidecars.filter(({ isSeen }) => isSeen).map(({ instance }) => nodeOf(instance)),
  );
  return sidecars.flatMap((sidecar) => [
    syncLine(sidecar),
    ...expiryLines(sidecar, shown.has(sidecar.id), nowMs),
  ]);
}

function syncLine({ id, state, nackReason, ackedVersion }: SidecarView): CheckLine {
  switch (state) {
    case "SYNCED":
      return ok(`${id} has the newest configuration`);
    case "STALE":
      return failed(
        `${id} has not confirmed the newest configuration`,
        "run remora check again; if it stays, see its log",
      );
    case "NOT SENT":
      return failed(
        `${id} has no configuration yet`,
        "run remora check again; if it stays, see the control plane's log",
      );
    case "NACK": {
      const kept = ackedVersion === null ? "and has none" : "and keeps the one before";
      return failed(
        `${id} refuses its configuration ${kept}: ${nackReason ?? "no reason given"}`,
        "correct the policy that it names, or update the sidecar",
      );
    }
  }
}

/** Of a sidecar whose port could not be looked at, the certificate that it is connected by tells the same. */
function expiryLines(
  { id, certificateNotBeforeMs, certificateNotAfterMs }: SidecarView,
  isShown: boolean,
  nowMs: number,
): readonly CheckLine[] {
  if (isShown && (certificateNotAfterMs ?? 0) > nowMs) return [];
  // A control plane of an older version does not tell when it began.
  const life = { notBeforeMs: certificateNotBeforeMs ?? null, notAfterMs: certificateNotAfterMs };
  return leafLines(id, life, "see its log for why it was not renewed", nowMs);
}

function servedLines({ served, nowMs }: CheckSubject): readonly CheckLine[] {
  if (served !== undefined) return certificateLines(served, nowMs);
  return [
    warning(
      "this control plane does not tell which certificates are served",
      "install the same version on both sides",
    ),
  ];
}

function serviceLines({ services, sidecars, documents }: CheckSubject): readonly CheckLine[] {
  if (services.length === 0) return [warning("no service is registered", "start one with remora run")];
  const connected = new Set(sidecars.map(({ id }) => id));
  const lines = services.flatMap(({ name, namespace, instances }) => {
    const key = `${name}.${namespace}`;
    if (instances.length === 0) return [warning(`${key} has no instance`, "start one with remora run")];
    const bare = instances.filter(({ isMeshed }) => !isMeshed);
    const lost = instances.filter(({ isMeshed, id }) => isMeshed && !connected.has(nodeOf(id)));
    const protocols = declaredProtocols(instances);
    const isDecided = documents.some((document) => decidesProtocol(document, name, namespace));
    const down = instances.filter(({ status }) => status === "critical" || status === "maintenance");
    return [
      ...bare.map(({ id, address, port }) =>
        warning(
          `${key}: instance ${id} at ${address}:${port} has no sidecar: it is reached in plaintext, and only when a policy permits it`,
          `start it with remora run --service ${name} --namespace ${namespace} --port ${port} -- COMMAND`,
        ),
      ),
      ...lost.map(({ id }) =>
        warning(
          `${key}: the sidecar of ${id} is not connected to this control plane`,
          "see its log, and its --control-plane",
        ),
      ),
      ...(protocols.size > 1 && !isDecided
        ? [
            warning(
              `${key}: instances declare different protocols (${[...protocols].map(([protocol, ids]) => `${protocol}: ${ids.join(", ")}`).join("; ")})`,
              "start all of them with the same --protocol, or set spec.protocol in its TrafficPolicy",
            ),
          ]
        : []),
      ...(down.length === instances.length
        ? [
            failed(
              `${key} has no instance that takes requests (${down.map(({ id, status }) => `${id} ${status}`).join(", ")})`,
              "see why its health checks fail",
            ),
          ]
        : []),
    ];
  });
  return lines.length > 0 ? lines : [ok(`${services.length} services, every instance with a sidecar`)];
}

/** Ids of the instances by the protocol that they declare, both sorted. */
function declaredProtocols(instances: ServiceView["instances"]): ReadonlyMap<string, readonly string[]> {
  const protocols = [...new Set(instances.map(({ protocol }) => protocol))].sort();
  return new Map(
    protocols.map((protocol) => [
      protocol,
      instances
        .filter((instance) => instance.protocol === protocol)
        .map(({ id }) => id)
        .sort(),
    ]),
  );
}

/** Is it a policy that says what the service speaks, whatever its instances declare? */
function decidesProtocol({ document }: DocumentView, name: string, namespace: string): boolean {
  const { kind, metadata, spec } = document as Document;
  if (kind !== "TrafficPolicy" || metadata.namespace !== namespace) return false;
  return spec.protocol !== undefined && spec.targetRefs.some((target) => target.name === name);
}

/** The sidecar's name in an instance's id; Consul's instances have their machine's name before it: `vm-1/web.default-10.0.0.1-80`. */
function nodeOf(instanceId: string): string {
  return instanceId.slice(instanceId.indexOf("/") + 1);
}

function versionLine({ version, controlPlane }: CheckSubject): CheckLine {
  if (version === controlPlane.version) return ok(`command and control plane have version ${version}`);
  return warning(
    `this command has version ${version}, the control plane ${controlPlane.version}`,
    "install the same version on both sides",
  );
}
