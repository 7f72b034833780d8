/** Settings of the commands that talk to a running sidecar about its breakers. */
import { config, output } from "./common-settings.js";
import { duration, hostPort, url } from "./parsers.js";
import { defaulted, optional, required, toggle } from "./setting.js";

/** Not from the environment: REMORA_ADMIN_URL is that of the control plane. */
const sidecar = {
  adminUrl: required(url, {
    placeholder: "URL",
    help: "admin API of the sidecar, on its machine: http://127.0.0.1:PORT with the port of --admin",
    isFlagOnly: true,
  }),
  config,
};

/** A day: whoever needs it longer says so again. */
const forTime = defaulted(duration({ leastMs: 1000, mostMs: 86_400_000 }), "5m", {
  placeholder: "DURATION",
  help: "how long it holds; it ends by itself",
  isFlagOnly: true,
});

const endpoint = { placeholder: "HOST:PORT", help: "one endpoint of the service", isFlagOnly: true } as const;

export const breakerListSettings = { output, ...sidecar };

export const breakerOpenSettings = { for: forTime, ...sidecar };

export const breakerCloseSettings = { endpoint: optional(hostPort, endpoint), for: forTime, ...sidecar };

export const breakerIsolateSettings = {
  endpoint: required(hostPort, endpoint),
  for: forTime,
  force: toggle({ help: "also the last endpoint that takes traffic", isFlagOnly: true }),
  ...sidecar,
};

export const breakerResetSettings = { endpoint: optional(hostPort, endpoint), ...sidecar };
