/** Settings of the commands that work on certificates without a control plane. */
import { keyTypes } from "../../certs/keys.js";
import { config, output } from "./common-settings.js";
import { longDuration, oneOf, serviceName, text, trustDomain } from "./parsers.js";
import { defaulted, optional, required } from "./setting.js";

const caDir = optional(text, {
  placeholder: "DIR",
  help: "folder of the CA",
  defaultText: "<data-dir>/ca, data-dir being REMORA_DATA_DIR or ~/.remora/control-plane",
});

const domain = defaulted(trustDomain, "mesh.local", {
  placeholder: "DOMAIN",
  help: "trust domain of the mesh; it cannot be changed later",
});

/** Of the CA's key. In a file: a command line can be seen by others. */
export const caKeyPassphraseFile = optional(text, {
  placeholder: "FILE",
  help: "file (0600) with the passphrase of the CA's key",
  defaultText: "the key is not encrypted",
});

export const caInitSettings = { dir: caDir, trustDomain: domain, caKeyPassphraseFile, output, config };

export const caIntermediateSettings = {
  root: required(text, { placeholder: "DIR", help: "folder of the root, made with remora ca init" }),
  out: required(text, { placeholder: "DIR", help: "new folder for the intermediate" }),
  ttl: defaulted(longDuration({ leastMs: 3_600_000, mostMs: 315_360_000_000 }), "8760h", {
    placeholder: "DURATION",
    help: "life of the intermediate, shorter than the root's",
  }),
  caKeyPassphraseFile,
  outKeyPassphraseFile: optional(text, {
    placeholder: "FILE",
    help: "file (0600) with a passphrase for the intermediate's key",
    defaultText: "the key is not encrypted",
  }),
  output,
  config,
};

export const caEncryptKeySettings = {
  dir: caDir,
  caKeyPassphraseFile: required(text, { placeholder: "FILE", help: "file (0600) with the new passphrase" }),
  oldPassphraseFile: optional(text, {
    placeholder: "FILE",
    help: "file (0600) with the present passphrase",
    defaultText: "the key is not encrypted",
  }),
  output,
  config,
};

export const certIssueSettings = {
  keyType: defaulted(oneOf(...keyTypes), "ec-p256", { placeholder: "TYPE", help: "kind of the key" }),
  service: required(serviceName, { placeholder: "NAME", help: "service that the certificate is for" }),
  namespace: defaulted(serviceName, "default", {
    placeholder: "NAMESPACE",
    short: "-n",
    help: "namespace of the service",
  }),
  caDir,
  outDir: optional(text, {
    placeholder: "DIR",
    help: "where key, certificate and bundle go as PEM",
    defaultText: "the present folder, unless --out is given",
  }),
  out: optional(text, {
    placeholder: "FILE",
    help: "PKCS#12 file for key, certificate and bundle together, ending in .p12 or .pfx: for Java and .NET",
    defaultText: "none: PEM files",
  }),
  passphraseFile: optional(text, {
    placeholder: "FILE",
    help: "file whose first line is the passphrase of --out; mode 0600",
    defaultText: "FILE.passphrase beside --out, made with a new passphrase when it is not there",
  }),
  caKeyPassphraseFile,
  ttl: defaulted(longDuration({ leastMs: 2000, mostMs: 604_800_000 }), "24h", {
    placeholder: "DURATION",
    help: "life of the certificate",
  }),
  output,
  config,
};

export const certInspectSettings = { output, config };

export const certVerifySettings = {
  bundle: required(text, { placeholder: "FILE", help: "PEM file with the roots to trust" }),
  trustDomain: optional(trustDomain, {
    placeholder: "DOMAIN",
    help: "trust domain that the certificate must belong to",
    defaultText: "the one of the bundle",
  }),
  output,
  config,
};

export const versionSettings = { output, config };
