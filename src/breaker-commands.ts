import type { BreakerAnswer, ServiceCommand } from "./policy/breaker-command.js";
import type { DataPlane } from "./proxy/data-plane.js";

/** Carries out a command for one service, or for all of them. */
export function driveBreakers(plane: DataPlane, { service, ...command }: ServiceCommand): BreakerAnswer {
  const known = [...plane.clusters()].map(({ config }) => config.name);
  if (service === undefined) {
    for (const name of known) plane.driveBreakers(name, command);
    return { isDone: true, text: `${known.length} services: ${command.action}` };
  }
  const answer = plane.driveBreakers(service, command);
  if (answer !== undefined) return answer;
  const names = known.length === 0 ? "none" : known.slice(0, 20).join(", ");
  return { isDone: false, text: `this sidecar knows no service ${service}; it has ${names}` };
}
