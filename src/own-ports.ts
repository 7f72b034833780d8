import type { ListenerView } from "./admin/admin-view.js";
import type { Bootstrap } from "./config/bootstrap.js";
import { ConfigError } from "./errors/config-error.js";
import { addressKey, addressKind, listensAt } from "./traffic/address-kind.js";

/**
 * The application cannot be at a port of this sidecar's own, whoever says so: peers would speak with its admin API, or
 * through its outbound ports with others under its name. Throws ConfigError.
 */
export function refuseOwnPorts(
  { appAddress, appPort, advertiseAddress }: Bootstrap,
  listeners: readonly ListenerView[],
): void {
  const app = reachedAt(appAddress);
  const isAdvertised = addressKey(app) === addressKey(advertiseAddress);
  const own = listeners.find(({ address }) => {
    const colon = address.lastIndexOf(":");
    const host = address.slice(0, colon).replace(/[[\]]/g, "");
    const isHere = listensAt(host, app) || (isAdvertised && addressKind(host) === "unspecified");
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
  return port === adminPort && listensAt(loopback, reachedAt(address));
}

const loopback = "127.0.0.1";

/** Where a connection to this address ends. */
function reachedAt(address: string): string {
  const isLoopback = address.toLowerCase() === "localhost" || addressKind(address) === "unspecified";
  return isLoopback ? loopback : address;
}
