import type { CommandBody } from "../command.js";
import { runSidecar } from "../run-sidecar.js";
import type { sidecarSettings } from "../settings/sidecar-settings.js";

/** `remora sidecar`: until SIGTERM or SIGINT, which drain. */
export const sidecar: CommandBody<typeof sidecarSettings> = (settings, _operands, terminal) =>
  runSidecar(settings, undefined, terminal);
