import { createConsulHttp, ConsulReadError } from "../src/consul/consul-http.js";
import { readSidecarRegistration, type SidecarRegistration } from "../src/consul/sidecar-registration.js";
import type { ConsulAccess } from "../src/config/consul-access.js";
import type { Protocol } from "../src/config/snapshot.js";
import type { Clock } from "../src/time/clock.js";
import path from "node:path";
import { readSecretFile, writeFileAtomic } from "../certs/secret-file.js";
import { messageOf } from "../src/errors/message-of.js";
import { makeStateFolder } from "../src/identity/svid-file.js";
import { CommandError } from "./failure.js";

/** Where an agent is when nobody says: Consul's own default. */
export const defaultAgent = "http://127.0.0.1:8500";

export interface RegisteredSidecarOptions {
  readonly agent: ConsulAccess;
  /** Of the service instance. */
  readonly id: string;
  /** Folder where the registration is kept, so that a restart needs no agent. */
  readonly dir: string;
  readonly clock: Clock;
  readonly warn: (message: string) => void;
}

const fileName = "consul-registration.json";

/**
 * The sidecar that is registered for a service instance: as the agent has it, or, while the agent does not answer, as it was
 * read last.
 *
 * @throws CommandError, ConfigError
 */
export async function registeredSidecar(options: RegisteredSidecarOptions): Promise<SidecarRegistration> {
  const { agent, id, dir, clock, warn } = options;
  const http = createConsulHttp({ ...agent, clock });
  try {
    const registered = await readSidecarRegistration(http.get, id, new AbortController().signal);
    await keep(dir, registered).catch((error: unknown) =>
      warn(`the registration could not be kept for a start without Consul: ${messageOf(error)}`),
    );
    return registered;
  } catch (error: unknown) {
    if (!(error instanceof ConsulReadError)) throw error;
    const kept = isAway(error) ? await readKept(dir, id) : undefined;
    if (kept === undefined) throw new CommandError(`--for: ${error.message}`, { cause: error });
    warn(`starting with the registration that was read last: ${error.message}`);
    return kept;
  } finally {
    http.close();
  }
}

/** No answer, or none that says anything about the registration. */
function isAway({ status }: ConsulReadError): boolean {
  return status === 0 || status >= 500;
}

async function keep(dir: string, registered: SidecarRegistration): Promise<void> {
  await makeStateFolder(dir);
  await writeFileAtomic(path.join(dir, fileName), JSON.stringify(registered));
}

/** undefined: there is none that can be used. */
async function readKept(dir: string, id: string): Promise<SidecarRegistration | undefined> {
  try {
    const text = await readSecretFile(path.join(dir, fileName));
    const kept = JSON.parse(text ?? "null") as SidecarRegistration | null;
    return kept?.id === id ? kept : undefined;
  } catch {
    return undefined; // the failure to tell is that of the agent
  }
}

/** What Consul calls a protocol; whatever it is, bytes can be carried. */
export function protocolOf(registered: SidecarRegistration): Protocol {
  const lower = registered.protocol?.toLowerCase();
  return (["http", "http2", "grpc"] as const).find((known) => known === lower) ?? "tcp";
}
