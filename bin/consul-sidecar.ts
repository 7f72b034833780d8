import { createConsulHttp, ConsulReadError } from "../src/consul/consul-http.js";
import { readSidecarRegistration, type SidecarRegistration } from "../src/consul/sidecar-registration.js";
import type { ConsulAccess } from "../src/config/consul-access.js";
import type { Protocol } from "../src/config/snapshot.js";
import type { Clock } from "../src/time/clock.js";
import { CommandError } from "./failure.js";

/** Where an agent is when nobody says: Consul's own default. */
export const defaultAgent = "http://127.0.0.1:8500";

/** The sidecar that is registered for the service instance `id`. @throws CommandError, ConfigError */
export async function registeredSidecar(
  agent: ConsulAccess,
  id: string,
  clock: Clock,
): Promise<SidecarRegistration> {
  const http = createConsulHttp({ ...agent, clock });
  try {
    return await readSidecarRegistration(http.get, id, new AbortController().signal);
  } catch (error: unknown) {
    if (error instanceof ConsulReadError) throw new CommandError(`--for: ${error.message}`, { cause: error });
    throw error;
  } finally {
    http.close();
  }
}

/** What Consul calls a protocol; whatever it is, bytes can be carried. */
export function protocolOf(registered: SidecarRegistration): Protocol {
  const lower = registered.protocol?.toLowerCase();
  return (["http", "http2", "grpc"] as const).find((known) => known === lower) ?? "tcp";
}
