import path from "node:path";
import type { Bootstrap, RegistrationConfig } from "../src/config/bootstrap.js";
import { parseHostPort } from "../src/discovery/host-port.js";
import { agentZone } from "./agent-zone.js";
import { addressTowards, isLoopbackAddress } from "./advertise-address.js";
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
export async function bootstrapOf(settings: SidecarSettings, terminal: Terminal): Promise<Bootstrap> {
  checkTogether(settings);
  const { service, namespace, port, outbound, controlPlane } = settings;
  const { host } = parseHostPort(controlPlane, "--control-plane");
  const advertiseAddress = settings.advertise ?? (await addressTowards(host));
  const registration = await registrationOf(settings);
  return {
    service,
    namespace,
    appAddress,
    appPort: port,
    protocol: settings.protocol,
    upstreams: settings.upstream,
    outboundPort: outbound === "off" ? undefined : outbound,
    inboundPort: settings.inbound,
    inboundAddress: bindAddress(advertiseAddress),
    advertiseAddress,
    adminPort: settings.admin,
    controlPlane,
    tokenFile: settings.tokenFile,
    stateDir: path.resolve(settings.stateDir ?? defaultStateDir({ service, namespace, port }, terminal)),
    zone:
      settings.zone === "" && registration.kind === "consul" ? await agentZone(registration) : settings.zone,
    meta: Object.fromEntries(settings.meta),
    accessLog: { format: settings.accessLog, path: settings.accessLogFile },
    registration,
    ...(settings.redisUrl !== undefined && { redisUrl: settings.redisUrl }),
    ...(settings.observeCalls !== "off" && { observeCallsMs: settings.observeCalls }),
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

async function registrationOf(settings: SidecarSettings): Promise<RegistrationConfig> {
  const { noRegister, consul, consulTokenFile, consulCaFile, tag, check } = settings;
  if (noRegister) return { kind: "none" };
  if (consul === undefined) return { kind: "embedded" };
  return {
    kind: "consul",
    url: consul,
    token: await readConsulToken(consulTokenFile),
    caFile: consulCaFile,
    tags: tag,
    checks: check.length > 0 ? check : [appCheck("tcp")],
  };
}

function checkTogether({ upstream, port, consul, check, tag }: SidecarSettings): void {
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
