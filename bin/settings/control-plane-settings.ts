import { keyTypes } from "../../certs/keys.js";
import { caKeyPassphraseFile } from "./ca-settings.js";
import { config } from "./common-settings.js";
import { duration, hostPort, longDuration, oneOf, text, trustDomain, url } from "./parsers.js";
import { defaulted, optional, toggle } from "./setting.js";

export const controlPlaneSettings = {
  dataDir: optional(text, {
    placeholder: "DIR",
    help: "folder (0700) for CA, tokens and policies; one control plane at a time",
    defaultText: "~/.remora/control-plane",
  }),
  listen: defaulted(hostPort, "127.0.0.1:15012", {
    placeholder: "HOST:PORT",
    help: "where sidecars connect (gRPC over TLS)",
  }),
  admin: defaulted(hostPort, "127.0.0.1:15014", {
    placeholder: "HOST:PORT",
    help: "where the admin API listens",
  }),
  policies: optional(text, {
    placeholder: "DIR",
    help: "folder of policy documents",
    defaultText: "<data-dir>/policies",
  }),
  trustDomain: defaulted(trustDomain, "mesh.local", {
    placeholder: "DOMAIN",
    help: "trust domain of the mesh; fixed when the CA is made",
  }),
  ca: defaulted(oneOf("remora", "consul"), "remora", {
    placeholder: "WHO",
    help: "who gives identities: remora, or consul for the mesh CA of the agent at --consul",
  }),
  defaultAction: defaulted(oneOf("allow", "deny"), "allow", {
    placeholder: "ACTION",
    help: "requests to services without an AuthorizationPolicy of action ALLOW: allow or deny",
  }),
  intentions: toggle({ help: "Consul's intentions count, as they always do with --ca consul" }),
  leafTtl: defaulted(longDuration({ leastMs: 2000, mostMs: 604_800_000 }), "24h", {
    placeholder: "DURATION",
    help: "life of a sidecar's certificate",
  }),
  leafKeyType: defaulted(oneOf(...keyTypes), "ec-p256", {
    placeholder: "TYPE",
    help: "kind of the keys of certificates; a change reaches each sidecar when it renews",
  }),
  federationListen: optional(hostPort, {
    placeholder: "HOST:PORT",
    help: "where other meshes read our bundle (https, SPIFFE Federation)",
    defaultText: "nowhere",
  }),
  federationRefreshHint: defaulted(duration({ leastMs: 1000, mostMs: 86_400_000 }), "5m", {
    placeholder: "DURATION",
    help: "how often they shall look at it",
  }),
  jwtTtl: defaulted(duration({ leastMs: 10_000, mostMs: 3_600_000 }), "5m", {
    placeholder: "DURATION",
    help: "life of a JWT-SVID",
  }),
  caKeyPassphraseFile,
  consul: optional(url, {
    placeholder: "URL",
    help: "Consul agent to read the registry from",
    defaultText: "the embedded registry",
  }),
  consulTokenFile: optional(text, { placeholder: "FILE", help: "file with Consul's ACL token" }),
  consulCaFile: optional(text, {
    placeholder: "FILE",
    help: "PEM file of the CA that signed the agent's certificate",
  }),
  datacenter: optional(text, { placeholder: "NAME", help: "Consul datacenter", defaultText: "the agent's" }),
  logLevel: defaulted(oneOf("debug", "info", "warn", "error"), "info", {
    placeholder: "LEVEL",
    help: "least level that is logged",
  }),
  config,
};
