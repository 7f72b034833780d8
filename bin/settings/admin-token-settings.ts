/** Settings of the commands about who may use the control plane's admin API. */
import { adminSettings } from "./client-settings.js";
import { output } from "./common-settings.js";
import { longDuration, oneOf, serviceName, text, wholeNumber } from "./parsers.js";
import { defaulted, optional, required } from "./setting.js";

export const adminTokenCreateSettings = {
  role: required(oneOf("view", "apply", "admin"), {
    placeholder: "ROLE",
    help: "view: look; apply: also change policies; admin: also tokens, certificates, audit",
  }),
  name: required(serviceName, { placeholder: "NAME", help: "who it is for, as the audit log will say" }),
  ttl: defaulted(longDuration({ leastMs: 60_000, mostMs: 366 * 86_400_000 }), "90d", {
    placeholder: "DURATION",
    help: "how long the token can be used",
  }),
  out: optional(text, {
    placeholder: "FILE",
    help: "write the token to FILE (0600) and not to standard output",
    isFlagOnly: true,
  }),
  output,
  ...adminSettings,
};

export const adminTokenSettings = { output, ...adminSettings };

export const auditSettings = {
  limit: defaulted(wholeNumber(1, 10_000), "100", { placeholder: "N", help: "the newest N" }),
  output,
  ...adminSettings,
};
