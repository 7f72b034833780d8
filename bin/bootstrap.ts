import path from "node:path";
import type { Bootstrap, RegistrationConfig, UpstreamBinding } from "../src/config/bootstrap.js";
import type { SidecarRegistration } from "../src/consul/sidecar-registration.js";
import { parseHostPort } from "../src/discovery/host-port.js";
import { agentZone } from "./agent-zone.js";
import { addressTowards, isLoopbackAddress } from "./advertise-address.js";
import { defaultAgent, protocolOf, registeredSidecar } from "./consul-sidecar.js";
import { readConsulToken } from "./consul-token.js";
import { defaultStateDir } from "./default-folders.js";
import { UsageError } from "./failure.js";
import { appCheck } from "./settings/parsers.js";
import type { Values } from "./settings/setting.js";
import type { sidecarSettings } from "./settings/sidecar-settings.js";
import type { Terminal } from "./terminal.js";

export type SidecarSettings = Values<typeof sidecarSettings>;

/** The application is beside its sidecar, on the same machine. */
const appAddress = "127.0.0.1";

/**
 * The bootstrap that the settings of `remora run` and `remora sidecar` say.
 *
 * @throws UsageError for settings that contradict each other, CommandError for what this machine does not have.
 */
export async function bootstrapOf(
  settings: SidecarSettings,
  terminal: Terminal,
  warn: (message: string) => void = () => undefined,
): Promise<Bootstrap> {
  const registered = await registeredOf(settings, terminal, warn);
  for (const upstream of registered?.ignored ?? []) warn(`upstream left out: ${upstream}`);
  const { service, port, upstreams } = ownPart(settings, registered);
  checkTogether(settings, port, upstreams);
  checkJoin(settings);
  const { namespace, outbound, controlPlane } = settings;
  const { host } = parseHostPort(controlPlane, "--control-plane");
  const advertiseAddress = settings.advertise ?? (registered?.address || (await addressTowards(host)));
  const registration = await registrationOf(settings);
  const isConsulCa = usesConsulCa(settings);
  const stateDir = path.resolve(settings.stateDir ?? defaultStateDir({ service, namespace, port }, terminal));
  return {
    service,
    namespace,
    appAddress: registered?.appAddress ?? appAddress,
    appPort: port,
    protocol: settings.protocol ?? (registered === undefined ? "http" : protocolOf(registered)),
    upstreams,
    outboundPort: outbound === "off" ? undefined : outbound,
    inboundPort: settings.inbound === 0 ? (registered?.bindPort ?? 0) : settings.inbound,
    inboundAddress: registered?.bindAddress ?? bindAddress(advertiseAddress),
    ...(isConsulCa && { consulCa: await agentOf(settings) }),
    advertiseAddress,
    ...(settings.advertiseWan !== undefined && { wanAddress: settings.advertiseWan }),
    adminPort: settings.admin,
    controlPlane,
    tokenFile: settings.tokenFile,
    ...(settings.join === "consul" && { consulJoinFile: settings.consulTokenFile ?? "" }),
    ...(settings.caFingerprint !== undefined && { caFingerprint: settings.caFingerprint }),
    stateDir,
    zone:
      settings.zone === "" && registration.kind === "consul" ? await agentZone(registration) : settings.zone,
    meta: Object.fromEntries(settings.meta),
    accessLog: { format: settings.accessLog, path: settings.accessLogFile },
    registration,
    ...(settings.redisUrl !== undefined && { redisUrl: settings.redisUrl }),
    ...(settings.observeCalls !== "off" && { observeCallsMs: settings.observeCalls }),
    ...(settings.workloadApi !== "off" && {
      workloadApi:
        settings.workloadApi === "on" ? path.join(stateDir, "workload.sock") : settings.workloadApi.path,
    }),
    workers: settings.workers,
    drainTimeoutMs: settings.drainTimeout,
    drainDelayMs: settings.drainDelay,
    // Less than the whole, so that the reason is told and not only that time is up.
    enrollTimeoutMs: settings.readyTimeout * 0.8,
  };
}

/** The advertised address may be that of a NAT in front of this machine: only loopback can be bound for certain. */
function bindAddress(advertised: string): string {
  if (isLoopbackAddress(advertised)) return advertised;
  return advertised.includes(":") ? "::" : "0.0.0.0";
}

/** With a registration of its own in Consul, the sidecar is a part of Consul's mesh unless it is told otherwise. */
function usesConsulCa({ ca, for: id }: SidecarSettings): boolean {
  return ca === undefined ? id !== undefined : ca === "consul";
}

async function agentOf({ consul, consulTokenFile, consulCaFile }: SidecarSettings) {
  const token = await readConsulToken(consulTokenFile);
  return { url: consul ?? defaultAgent, token, caFile: consulCaFile };
}

async function registeredOf(
  settings: SidecarSettings,
  { clock, homeDir }: Terminal,
  warn: (message: string) => void,
): Promise<SidecarRegistration | undefined> {
  const { for: id, stateDir } = settings;
  if (id === undefined) return undefined;
  // The usual folder is named after what is still to be read.
  const dir = path.resolve(stateDir ?? path.join(homeDir, ".remora", `for-${encodeURIComponent(id)}`));
  return registeredSidecar({ agent: await agentOf(settings), id, dir, clock, warn });
}

/** What flags say counts more than what is registered; upstreams are those of both. */
function ownPart(
  { service, port, upstream }: SidecarSettings,
  registered: SidecarRegistration | undefined,
): { readonly service: string; readonly port: number; readonly upstreams: readonly UpstreamBinding[] } {
  return {
    service: service ?? registered?.service ?? "",
    port: port ?? registered?.appPort ?? 0,
    upstreams: [...(registered?.upstreams ?? []), ...upstream],
  };
}

async function registrationOf(settings: SidecarSettings): Promise<RegistrationConfig> {
  const { noRegister, consul, for: id, tag, check } = settings;
  // Whoever registered the sidecar keeps the registration.
  if (noRegister || id !== undefined) return { kind: "none" };
  if (consul === undefined && settings.ca !== "consul") return { kind: "embedded" };
  return {
    kind: "consul",
    ...(await agentOf(settings)),
    tags: tag,
    checks: check.length > 0 ? check : [appCheck("tcp")],
  };
}

function checkTogether(
  { consul: agent, ca, check, tag, service, namespace, for: id }: SidecarSettings,
  port: number,
  upstream: readonly UpstreamBinding[],
): void {
  const consul = agent ?? (ca === "consul" ? defaultAgent : undefined);
  if ((ca === "consul" || (ca === undefined && id !== undefined)) && namespace !== "default")
    throw new UsageError(
      "--namespace",
      `${namespace} is none of Consul's mesh, which has only "default"; leave it out`,
    );
  if (id !== undefined && service !== undefined)
    throw new UsageError("--service", "stands in the registration that --for names; leave it out");
  const fixed = upstream.filter((each) => each.port !== 0);
  for (const [index, each] of fixed.entries()) {
    if (each.port === port)
      throw new UsageError(
        "--upstream",
        `${each.service} has the application's own port ${port}; choose another local port`,
      );
    const other = fixed.slice(0, index).find((before) => before.port === each.port);
    if (other !== undefined)
      throw new UsageError(
        "--upstream",
        `${other.service} and ${each.service} have the same port ${each.port}; choose another one`,
      );
  }
  const names = upstream.map(({ service }) => service);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined)
    throw new UsageError("--upstream", `${twice} stands twice; name each upstream once`);
  if (consul === undefined && check.length > 0)
    throw new UsageError("--check", "is for Consul, which is not in use; give --consul URL, or leave it out");
  if (consul === undefined && tag.length > 0)
    throw new UsageError("--tag", "is for Consul, which is not in use; give --consul URL, or leave it out");
}

function checkJoin({ join, ca, consulTokenFile, caFingerprint, tokenFile }: SidecarSettings): void {
  if (join !== "consul") return;
  if (ca === "consul")
    throw new UsageError("--join", "is for Remora's CA; Consul's needs no joining; leave it out");
  if (tokenFile !== undefined)
    throw new UsageError("--token-file", "is no proof for --join consul; leave one of the two out");
  if (consulTokenFile === undefined)
    throw new UsageError("--join", "consul needs Consul's ACL token; give --consul-token-file FILE");
  if (caFingerprint === undefined)
    throw new UsageError(
      "--join",
      "consul sends the ACL token to no control plane that is not known; give --ca-fingerprint SHA256",
    );
}
