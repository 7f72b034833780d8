/** Settings of `remora federation ...`. */
import { adminSettings } from "./client-settings.js";
import { output } from "./common-settings.js";
import { text, trustDomain, url } from "./parsers.js";
import { optional, required } from "./setting.js";

export const federationAddSettings = {
  trustDomain: required(trustDomain, {
    placeholder: "DOMAIN",
    help: "trust domain whose identities ours shall believe",
    isFlagOnly: true,
  }),
  endpoint: required(url, { placeholder: "URL", help: "https URL of its bundle", isFlagOnly: true }),
  endpointSpiffeId: optional(text, {
    placeholder: "ID",
    help: "SPIFFE id that the endpoint proves",
    defaultText: "none: it has a certificate of a public CA",
    isFlagOnly: true,
  }),
  bundleFile: optional(text, {
    placeholder: "FILE",
    help: "its present bundle (remora federation bundle of the other mesh); needed with --endpoint-spiffe-id",
    isFlagOnly: true,
  }),
  output,
  ...adminSettings,
};

export const federationListSettings = { output, ...adminSettings };
export const federationRemoveSettings = { output, ...adminSettings };
export const federationBundleSettings = { ...adminSettings };
