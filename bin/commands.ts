/** Every command of `remora`, in the order of its help. */
import { command, type CommandDeclaration } from "./command.js";
import * as adminTokens from "./settings/admin-token-settings.js";
import * as breaker from "./settings/breaker-settings.js";
import {
  caEncryptKeySettings,
  caInitSettings,
  caIntermediateSettings,
  certInspectSettings,
  certIssueSettings,
  certVerifySettings,
  versionSettings,
} from "./settings/ca-settings.js";
import * as client from "./settings/client-settings.js";
import * as federation from "./settings/federation-settings.js";
import { jwtSettings } from "./settings/jwt-settings.js";
import { controlPlaneSettings } from "./settings/control-plane-settings.js";
import {
  explainSettings,
  policyLogSettings,
  policySuggestSettings,
  policyTestSettings,
} from "./settings/policy-settings.js";
import { runSettings, sidecarSettings } from "./settings/sidecar-settings.js";
import { withSmallHeap } from "./small-heap.js";

const kind = {
  form: "<kind>",
  help: "HTTPRoute, GRPCRoute, TrafficPolicy, AuthorizationPolicy or PeerAuthentication",
  choices: ["httproute", "grpcroute", "trafficpolicy", "authorizationpolicy", "peerauthentication"],
};

const service = { form: "<service>", help: "service of the sidecar's upstreams: NAME or NAME.NAMESPACE" };

export const commands: readonly CommandDeclaration[] = [
  command({
    name: "run",
    summary: "start a command with a sidecar beside it, as long as the command lives",
    settings: runSettings,
    operands: [{ form: "<command...>", help: "the command and its arguments, after --" }],
    load: async () => (await withSmallHeap(() => import("./commands/run.js"))).run,
  }),
  command({
    name: "sidecar",
    summary: "run a sidecar for an application that somebody else starts",
    settings: sidecarSettings,
    load: async () => (await withSmallHeap(() => import("./commands/sidecar.js"))).sidecar,
  }),
  command({
    name: "control-plane",
    summary: "run a control plane",
    settings: controlPlaneSettings,
    load: async () => (await import("./commands/control-plane.js")).controlPlane,
  }),
  command({
    name: "token create",
    summary: "create a join token for a new sidecar",
    settings: client.tokenCreateSettings,
    load: async () => (await import("./commands/token-create.js")).tokenCreate,
  }),
  command({
    name: "apply",
    summary: "create or change policies; of a file with a mistake nothing is applied",
    settings: client.applySettings,
    load: async () => (await import("./commands/apply.js")).apply,
  }),
  command({
    name: "get",
    summary: "show policies and what became of them",
    settings: client.getSettings,
    operands: [kind, { form: "[name]", help: "one document" }],
    load: async () => (await import("./commands/get.js")).get,
  }),
  command({
    name: "delete",
    summary: "delete policies",
    settings: client.deleteSettings,
    operands: [
      { ...kind, form: "[kind]" },
      { form: "[name]", help: "the document" },
    ],
    load: async () => (await import("./commands/delete.js")).deleteDocuments,
  }),
  command({
    name: "status",
    summary: "show the sidecars, what configuration they have, and the registry",
    settings: client.statusSettings,
    load: async () => (await import("./commands/status.js")).status,
  }),
  command({
    name: "check",
    summary: "check that everything is well, and say what to do where it is not",
    settings: client.checkSettings,
    load: async () => (await import("./commands/check.js")).check,
  }),
  command({
    name: "explain",
    summary: "show what would become of a request: route, instances, and the policy that decides",
    settings: explainSettings,
    operands: [
      { form: "<caller>", help: "who calls: NAME, NAME.NAMESPACE or a SPIFFE id" },
      { form: "<service>", help: "who is called: NAME or NAME.NAMESPACE" },
      { form: "<method>", help: "GET, POST, ..." },
      { form: "<path>", help: "path, with a query if routes look at it" },
    ],
    load: async () => (await import("./commands/explain.js")).explain,
  }),
  command({
    name: "policy log",
    summary: "show who called what in the mesh, and what was said to it",
    settings: policyLogSettings,
    load: async () => (await import("./commands/policy-log.js")).policyLog,
  }),
  command({
    name: "policy suggest",
    summary: "print the least AuthorizationPolicy that admits what was observed",
    settings: policySuggestSettings,
    load: async () => (await import("./commands/policy-suggest.js")).policySuggest,
  }),
  command({
    name: "policy test",
    summary: "say which observed calls documents would refuse or let through, before they are applied",
    settings: policyTestSettings,
    load: async () => (await import("./commands/policy-test.js")).policyTest,
  }),
  command({
    name: "breaker list",
    summary: "show the breakers of a sidecar's upstreams: state, reason, figures",
    settings: breaker.breakerListSettings,
    load: async () => (await import("./commands/breaker-list.js")).breakerList,
  }),
  command({
    name: "breaker open",
    summary: "hold the breaker of a service open: its callers get circuit_open at once",
    settings: breaker.breakerOpenSettings,
    operands: [service],
    load: async () => (await import("./commands/breaker-drive.js")).breakerOpen,
  }),
  command({
    name: "breaker close",
    summary: "hold the breakers of a service closed, and bring its ejected endpoints back",
    settings: breaker.breakerCloseSettings,
    operands: [service],
    load: async () => (await import("./commands/breaker-drive.js")).breakerClose,
  }),
  command({
    name: "breaker isolate",
    summary: "send no request to one endpoint of a service",
    settings: breaker.breakerIsolateSettings,
    operands: [service],
    load: async () => (await import("./commands/breaker-drive.js")).breakerIsolate,
  }),
  command({
    name: "breaker reset",
    summary: "end what was held, and have the breakers begin anew",
    settings: breaker.breakerResetSettings,
    operands: [{ form: "[service]", help: "one service; without it, all of the sidecar's upstreams" }],
    load: async () => (await import("./commands/breaker-drive.js")).breakerReset,
  }),
  command({
    name: "jwt",
    summary: "print a JWT-SVID of a service, from its sidecar's Workload API",
    settings: jwtSettings,
    load: async () => (await import("./commands/jwt.js")).jwt,
  }),
  command({
    name: "federation add",
    summary: "believe the identities of another mesh, and follow its bundle",
    settings: federation.federationAddSettings,
    load: async () => (await import("./commands/federation-add.js")).federationAdd,
  }),
  command({
    name: "federation list",
    summary: "show the trust domains that are believed beside our own",
    settings: federation.federationListSettings,
    load: async () => (await import("./commands/federation-list.js")).federationList,
  }),
  command({
    name: "federation remove",
    summary: "believe nobody of another trust domain any more",
    settings: federation.federationRemoveSettings,
    operands: [{ form: "<trust-domain>", help: "trust domain" }],
    load: async () => (await import("./commands/federation-remove.js")).federationRemove,
  }),
  command({
    name: "federation bundle",
    summary: "print our own bundle, for another mesh to add",
    settings: federation.federationBundleSettings,
    load: async () => (await import("./commands/federation-bundle.js")).federationBundle,
  }),
  command({
    name: "ca init",
    summary: "make a certificate authority",
    settings: caInitSettings,
    load: async () => (await import("./commands/ca-init.js")).caInit,
  }),
  command({
    name: "ca intermediate",
    summary: "make an intermediate CA for a control plane, where the root is",
    settings: caIntermediateSettings,
    load: async () => (await import("./commands/ca-intermediate.js")).caIntermediate,
  }),
  command({
    name: "ca encrypt-key",
    summary: "encrypt the key of a CA, or change its passphrase",
    settings: caEncryptKeySettings,
    load: async () => (await import("./commands/ca-encrypt-key.js")).caEncryptKey,
  }),
  command({
    name: "ca status",
    summary: "show the CA of a control plane, and how far its rotation has come",
    settings: client.caStatusSettings,
    load: async () => (await import("./commands/ca-status.js")).caStatus,
  }),
  command({
    name: "ca rotate",
    summary: "replace the CA without an outage, step by step",
    settings: client.caRotateSettings,
    load: async () => (await import("./commands/ca-rotate.js")).caRotate,
  }),
  command({
    name: "cert issue",
    summary: "issue a certificate without a control plane",
    settings: certIssueSettings,
    load: async () => (await import("./commands/cert-issue.js")).certIssue,
  }),
  command({
    name: "cert inspect",
    summary: "show the certificates in a PEM file",
    settings: certInspectSettings,
    operands: [{ form: "<file>", help: "PEM file" }],
    load: async () => (await import("./commands/cert-inspect.js")).certInspect,
  }),
  command({
    name: "cert verify",
    summary: "check a certificate chain against a trust bundle",
    settings: certVerifySettings,
    operands: [{ form: "<file>", help: "PEM file, leaf first" }],
    load: async () => (await import("./commands/cert-verify.js")).certVerify,
  }),
  command({
    name: "cert list",
    summary: "show the certificates that the control plane has issued",
    settings: client.certListSettings,
    load: async () => (await import("./commands/cert-list.js")).certList,
  }),
  command({
    name: "cert revoke",
    summary: "take certificates back at once: one, a sidecar's, or all of a service",
    settings: client.certRevokeSettings,
    operands: [{ form: "[serial]", help: "serial of one certificate" }],
    load: async () => (await import("./commands/cert-revoke.js")).certRevoke,
  }),
  command({
    name: "admin-token create",
    summary: "create a token for the control plane's admin API",
    settings: adminTokens.adminTokenCreateSettings,
    load: async () => (await import("./commands/admin-token.js")).adminTokenCreate,
  }),
  command({
    name: "admin-token list",
    summary: "show the tokens of the admin API, without their text",
    settings: adminTokens.adminTokenSettings,
    load: async () => (await import("./commands/admin-token.js")).adminTokenList,
  }),
  command({
    name: "admin-token revoke",
    summary: "end a token of the admin API",
    settings: adminTokens.adminTokenSettings,
    operands: [{ form: "<name>", help: "name of the token" }],
    load: async () => (await import("./commands/admin-token.js")).adminTokenRevoke,
  }),
  command({
    name: "audit",
    summary: "show who changed what through the admin API",
    settings: adminTokens.auditSettings,
    load: async () => (await import("./commands/audit.js")).audit,
  }),
  command({
    name: "version",
    summary: "show the version",
    settings: versionSettings,
    load: async () => (await import("./commands/version.js")).showVersion,
  }),
  command({
    name: "completion",
    summary: "print a completion script for a shell",
    settings: {},
    operands: [{ form: "<shell>", help: "bash, zsh or fish", choices: ["bash", "zsh", "fish"] }],
    load: async () => (await import("./commands/completion.js")).completion(commands),
  }),
];
