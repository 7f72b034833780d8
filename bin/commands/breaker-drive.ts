import { formatDuration } from "../../src/time/duration.js";
import type { CommandBody } from "../command.js";
import { exitCodes } from "../failure.js";
import { printLines } from "../output/print.js";
import { printable } from "../output/table.js";
import type {
  breakerCloseSettings,
  breakerIsolateSettings,
  breakerOpenSettings,
  breakerResetSettings,
} from "../settings/breaker-settings.js";
import { askSidecar } from "../sidecar-client.js";
import type { Terminal } from "../terminal.js";

/** `remora breaker open` */
export const breakerOpen: CommandBody<typeof breakerOpenSettings> = (settings, [service], terminal) =>
  drive("open", { ...settings, service }, terminal);

/** `remora breaker close` */
export const breakerClose: CommandBody<typeof breakerCloseSettings> = (settings, [service], terminal) =>
  drive("close", { ...settings, service }, terminal);

/** `remora breaker isolate` */
export const breakerIsolate: CommandBody<typeof breakerIsolateSettings> = (settings, [service], terminal) =>
  drive("isolate", { ...settings, service }, terminal);

/** `remora breaker reset` */
export const breakerReset: CommandBody<typeof breakerResetSettings> = (settings, [service], terminal) =>
  drive("reset", { ...settings, service }, terminal);

interface Wish {
  readonly adminUrl: string;
  readonly service: string | undefined;
  readonly endpoint?: string | undefined;
  readonly for?: number;
  readonly force?: boolean;
}

async function drive(action: string, wish: Wish, terminal: Terminal): Promise<number> {
  const query = new URLSearchParams();
  if (wish.service !== undefined) query.set("service", wish.service);
  if (wish.endpoint !== undefined) query.set("endpoint", wish.endpoint);
  if (wish.for !== undefined) query.set("for", formatDuration(wish.for));
  if (wish.force === true) query.set("force", "true");
  const told = await askSidecar(wish.adminUrl, "POST", `/breakers/${action}?${query.toString()}`);
  printLines(terminal, [printable(told)]);
  return exitCodes.ok;
}
