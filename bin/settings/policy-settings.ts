/** Settings of the commands about what was called, and what policies would say to it. */
import { adminSettings } from "./client-settings.js";
import { output } from "./common-settings.js";
import { documentName, oneOf, serviceName, text } from "./parsers.js";
import { defaulted, list, optional, required } from "./setting.js";

const namespace = defaulted(serviceName, "default", {
  placeholder: "NAMESPACE",
  short: "-n",
  help: "namespace of the service",
});

const oneService = optional(serviceName, {
  isFlagOnly: true,
  placeholder: "NAME",
  help: "one service",
  defaultText: "all services of all namespaces",
});

export const policyLogSettings = { service: oneService, namespace, output, ...adminSettings };

export const policySuggestSettings = {
  service: required(serviceName, { placeholder: "NAME", help: "service that the policy is for" }),
  namespace,
  mode: defaulted(oneOf("audit", "enforce"), "audit", {
    placeholder: "MODE",
    isFlagOnly: true,
    help: "audit: the policy is tried out and decides nothing; enforce: it decides",
  }),
  output: defaulted(oneOf("yaml", "json"), "yaml", {
    placeholder: "FORMAT",
    short: "-o",
    help: "yaml or json",
  }),
  ...adminSettings,
};

export const explainSettings = {
  header: list(text, {
    placeholder: "NAME:VALUE",
    isFlagOnly: true,
    help: "field of the request, where routes or policies look at one",
  }),
  namespace: defaulted(serviceName, "default", {
    placeholder: "NAMESPACE",
    short: "-n",
    help: "namespace of names without one",
  }),
  output,
  ...adminSettings,
};

export const policyTestSettings = {
  file: list(text, {
    placeholder: "FILE",
    short: "-f",
    isFlagOnly: true,
    help: "file or folder of YAML documents as they would be applied; - is standard input",
  }),
  delete: list(documentName, {
    placeholder: "KIND/[NAMESPACE/]NAME",
    isFlagOnly: true,
    help: "document as if it were deleted",
  }),
  intentions: list(text, {
    placeholder: "FILE",
    isFlagOnly: true,
    help: "JSON of a service-intentions entry of Consul as it would be written; - is standard input",
  }),
  service: oneService,
  namespace,
  output,
  ...adminSettings,
};
