import type { ListenerView } from "./admin/admin-view.js";
import type { Bootstrap } from "./config/bootstrap.js";
import { ConfigError } from "./errors/config-error.js";

/**
 * The application cannot be at a port of this sidecar's own, whoever says so: peers would speak with its admin API, or
 * through its outbound ports with others under its name. Throws ConfigError.
 */
export function refuseOwnPorts(
  { appAddress, appPort, advertiseAddress }: Bootstrap,
  listeners: readonly ListenerView[],
): void {
  const app = plain(appAddress);
  const own = listeners.find(({ address }) => {
    const colon = address.lastIndexOf(":");
    const host = address.slice(0, colon);
    const isEverywhere = host === "0.0.0.0" || host === "::";
    const isHere = host === app || (isEverywhere && (isLoopback(app) || app === advertiseAddress));
    return isHere && Number(address.slice(colon + 1)) === appPort;
  });
  if (own === undefined) return;
  throw new ConfigError(
    `${appAddress}:${appPort} is this sidecar's own ${own.name} port: give the port that the application listens at`,
    { place: "--port" },
  );
}

/** Is an endpoint this sidecar's own admin API? A registry may say so, and nobody's requests belong there. */
export function isOwnAdmin(
  adminPort: number,
  { address, port }: { readonly address: string; readonly port: number },
): boolean {
  return port === adminPort && plain(address) === "127.0.0.1";
}

/** What leads to 127.0.0.1 in other words. */
function plain(address: string): string {
  const mapped = address.toLowerCase().replace(/^::ffff:/, "");
  return mapped === "localhost" || mapped === "0.0.0.0" ? "127.0.0.1" : mapped;
}

function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.");
}
