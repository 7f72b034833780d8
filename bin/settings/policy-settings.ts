/** Settings of the commands about what was called, and what policies would say to it. */
import { adminSettings } from "./client-settings.js";
import { output } from "./common-settings.js";
import { serviceName } from "./parsers.js";
import { defaulted, optional } from "./setting.js";

const namespace = defaulted(serviceName, "default", {
  placeholder: "NAMESPACE",
  short: "-n",
  help: "namespace of the service",
});

export const policyLogSettings = {
  service: optional(serviceName, {
    placeholder: "NAME",
    help: "one service",
    defaultText: "all services of all namespaces",
  }),
  namespace,
  output,
  ...adminSettings,
};
