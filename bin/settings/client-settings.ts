/** Settings of the commands that talk to a running control plane. */
import { config, documentOutput, output } from "./common-settings.js";
import { duration, longDuration, serviceName, text, url, wholeNumber } from "./parsers.js";
import { defaulted, list, optional, required, toggle } from "./setting.js";

/** How to reach the control plane's admin API. */
export const adminSettings = {
  adminUrl: defaulted(url, "http://127.0.0.1:15014", {
    placeholder: "URL",
    help: "admin API of the control plane",
  }),
  adminTokenFile: optional(text, {
    placeholder: "FILE",
    help: "file with the admin token",
    defaultText: "<data-dir>/admin.token",
  }),
  dataDir: optional(text, {
    placeholder: "DIR",
    help: "folder of the control plane on this machine",
    defaultText: "~/.remora/control-plane",
  }),
  config,
};

const namespace = { placeholder: "NAMESPACE", short: "-n", help: "namespace" };

export const tokenCreateSettings = {
  service: required(serviceName, { placeholder: "NAME", help: "service that the token is for" }),
  namespace: defaulted(serviceName, "default", namespace),
  ttl: defaulted(longDuration({ leastMs: 1000, mostMs: 86_400_000 }), "10m", {
    placeholder: "DURATION",
    help: "how long the token can be used",
  }),
  uses: defaulted(wholeNumber(1, 1000), "1", { placeholder: "N", help: "how often the token can be used" }),
  out: optional(text, {
    placeholder: "FILE",
    help: "write the token to FILE (0600) and not to standard output",
    isFlagOnly: true,
  }),
  output,
  ...adminSettings,
};

export const caStatusSettings = { output, ...adminSettings };

export const caRotateSettings = {
  activate: toggle({ help: "the new CA signs from now on", isFlagOnly: true }),
  finish: toggle({ help: "the old CA is believed no more, and is removed", isFlagOnly: true }),
  abort: toggle({ help: "drop a rotation that is only prepared", isFlagOnly: true }),
  auto: toggle({ help: "all steps, each when the sidecars are ready", isFlagOnly: true }),
  from: optional(text, {
    placeholder: "DIR",
    help: "folder of the next CA, made with remora ca intermediate or remora ca init",
    defaultText: "a new root",
    isFlagOnly: true,
  }),
  force: toggle({ help: "although sidecars are not ready: they are cut off", isFlagOnly: true }),
  timeout: defaulted(duration({ leastMs: 1000, mostMs: 86_400_000 }), "30m", {
    placeholder: "DURATION",
    help: "with --auto: how long sidecars and other meshes are waited for in all",
  }),
  output,
  ...adminSettings,
};

export const certListSettings = {
  service: optional(serviceName, { placeholder: "NAME", help: "only those of one service" }),
  namespace: defaulted(serviceName, "default", namespace),
  all: toggle({ help: "with those that have expired", isFlagOnly: true }),
  limit: defaulted(wholeNumber(1, 10_000), "200", { placeholder: "N", help: "the newest N" }),
  output,
  ...adminSettings,
};

export const certRevokeSettings = {
  service: optional(serviceName, {
    placeholder: "NAME",
    help: "evict a service: all of its certificates",
    isFlagOnly: true,
  }),
  namespace: defaulted(serviceName, "default", namespace),
  node: optional(text, {
    placeholder: "ID",
    help: "evict one connected sidecar, by its name in remora status",
    isFlagOnly: true,
  }),
  reason: required(text, { placeholder: "TEXT", help: "why, for the records", isFlagOnly: true }),
  output,
  ...adminSettings,
};

const files = { placeholder: "FILE", short: "-f", isFlagOnly: true } as const;

export const applySettings = {
  file: list(text, { ...files, help: "file or folder of YAML documents; - is standard input" }),
  dryRun: toggle({ help: "say what would change, and change nothing", isFlagOnly: true }),
  output,
  ...adminSettings,
};

export const getSettings = {
  namespace: optional(serviceName, {
    ...namespace,
    defaultText: "all; default when a name is given",
  }),
  output: documentOutput,
  ...adminSettings,
};

export const deleteSettings = {
  namespace: defaulted(serviceName, "default", namespace),
  file: list(text, { ...files, help: "delete the documents that FILE names" }),
  output,
  ...adminSettings,
};

export const statusSettings = { output, ...adminSettings };

export const checkSettings = {
  wait: defaulted(duration({ leastMs: 0, mostMs: 3_600_000 }), "0s", {
    placeholder: "DURATION",
    help: "try again for so long until nothing fails",
  }),
  output,
  ...adminSettings,
};
