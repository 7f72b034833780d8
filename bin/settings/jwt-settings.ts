/** Settings of `remora jwt`. */
import { output } from "./common-settings.js";
import { socketPath, text } from "./parsers.js";
import { list, optional } from "./setting.js";

export const jwtSettings = {
  audience: list(text, {
    placeholder: "AUDIENCE",
    help: "who shall take the token; one is best",
    isFlagOnly: true,
  }),
  socket: optional(socketPath, {
    placeholder: "SOCKET",
    help: "Workload API of a sidecar, unix:///path",
    defaultText: "that of SPIFFE_ENDPOINT_SOCKET",
    isFlagOnly: true,
  }),
  output,
};
