import type { CommandBody } from "../command.js";
import { runSidecar } from "../run-sidecar.js";
import type { runSettings } from "../settings/sidecar-settings.js";

/** `remora run`: the exit code is the application's. */
export const run: CommandBody<typeof runSettings> = (settings, operands, terminal) =>
  runSidecar(settings, operands, terminal);
