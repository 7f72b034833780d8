import { protocols } from "../../src/config/protocol.js";
import { config } from "./common-settings.js";
import * as parse from "./parsers.js";
import { defaulted, list, optional, requiredUnless, toggle } from "./setting.js";

const anyPort = parse.port({ allowsZero: true });
const hour = 3_600_000;

/** Settings of `remora sidecar`, and of `remora run`, which differs only in its outbound port. */
export const sidecarSettings = {
  service: requiredUnless("for", parse.serviceName, {
    placeholder: "NAME",
    help: "service that the application is",
  }),
  for: optional(parse.text, {
    placeholder: "ID",
    help: "instance in Consul whose registered sidecar this is: service, ports and upstreams are read there",
  }),
  port: requiredUnless("for", parse.port({ allowsZero: false }), {
    placeholder: "PORT",
    help: "port on 127.0.0.1 that the application listens at",
  }),
  namespace: defaulted(parse.serviceName, "default", {
    placeholder: "NAMESPACE",
    short: "-n",
    help: "namespace of the service",
  }),
  upstream: list(parse.upstream, {
    placeholder: "NAME:LOCALPORT",
    help: "opens 127.0.0.1:LOCALPORT to service NAME or NAME.NAMESPACE; 0 = any free port; once given, the sidecar knows no other services",
  }),
  outbound: optional(parse.portOrOff, {
    placeholder: "PORT",
    help: "port on 127.0.0.1 that routes by host name; 0 = any free port, off = none",
    defaultText: "off",
  }),
  inbound: defaulted(anyPort, "0", { placeholder: "PORT", help: "mTLS port for peers; 0 = any free port" }),
  admin: defaulted(anyPort, "0", { placeholder: "PORT", help: "admin API on 127.0.0.1; 0 = any free port" }),
  controlPlane: defaulted(parse.hostPort, "127.0.0.1:15012", {
    placeholder: "HOST:PORT",
    help: "control plane",
  }),
  tokenFile: optional(parse.text, {
    placeholder: "FILE",
    help: "file with the join token, - is standard input; needed until there is a certificate in the state folder",
  }),
  join: defaulted(parse.oneOf("token", "consul"), "token", {
    placeholder: "PROOF",
    help: "what proves the service: a join token, or the ACL token of --consul-token-file, which may write it",
  }),
  caFingerprint: optional(parse.fingerprint, {
    placeholder: "SHA256",
    help: "fingerprint of the root that the control plane must have",
    defaultText: "the one in the join token",
  }),
  protocol: optional(parse.oneOf(...protocols), {
    placeholder: "PROTOCOL",
    help: "what the application speaks: http (HTTP/1.1), http2, grpc or tcp",
    defaultText: "http; with --for what Consul says",
  }),
  advertise: optional(parse.ipAddress, {
    placeholder: "IP",
    help: "address that peers reach this machine at",
    defaultText: "the one that the control plane is reached from",
  }),
  advertiseWan: optional(parse.wanAddress, {
    placeholder: "IP[:PORT]",
    help: "address that sidecars in other Consul datacenters reach the inbound port at",
    defaultText: "that of --advertise",
  }),
  zone: defaulted((value: string) => value, "", {
    placeholder: "ZONE",
    help: "zone of this machine; absent: what the Consul agent has",
  }),
  meta: list(parse.keyValue, { placeholder: "NAME=VALUE", help: "metadata of the instance in the registry" }),
  ca: optional(parse.oneOf("remora", "consul"), {
    placeholder: "WHO",
    help: "who gives the certificate: remora's control plane, or consul for the mesh CA of the agent",
    defaultText: "remora; consul with --for",
  }),
  consul: optional(parse.url, {
    placeholder: "URL",
    help: "local Consul agent to register with",
    defaultText: "the embedded registry; http://127.0.0.1:8500 with --for or --ca consul",
  }),
  consulTokenFile: optional(parse.text, { placeholder: "FILE", help: "file with Consul's ACL token" }),
  consulCaFile: optional(parse.text, {
    placeholder: "FILE",
    help: "PEM file of the CA that signed the agent's certificate",
  }),
  noRegister: toggle({ help: "somebody else registers the instance" }),
  check: list(parse.appCheck, {
    placeholder: "CHECK",
    help: "Consul's check of the application: http:/path, tcp (default) or ttl:15s",
  }),
  tag: list(parse.text, { placeholder: "TAG", help: "tag of the instance in Consul" }),
  stateDir: optional(parse.text, {
    placeholder: "DIR",
    help: "folder (0700) for key, certificate and last configuration",
    defaultText: "~/.remora/<service>.<namespace>-<port>",
  }),
  workloadApi: defaulted(parse.unixSocket, "off", {
    placeholder: "SOCKET",
    help: "SPIFFE Workload API for this user's processes: unix:///path, or on for <state-dir>/workload.sock",
  }),
  accessLog: defaulted(parse.oneOf("off", "text", "json"), "off", {
    placeholder: "FORMAT",
    help: "access log: off, text or json",
  }),
  accessLogFile: defaulted(parse.text, "-", {
    placeholder: "FILE",
    help: "where it goes; - is standard output",
  }),
  redisUrl: optional(parse.redisUrl, {
    placeholder: "URL",
    help: "Redis that instances count in together, like redis://10.0.0.5:6379; one with a password only in the environment or --config",
    checkFlag: parse.noPassword,
    defaultText: "none",
  }),
  observeCalls: defaulted(parse.durationOrOff({ leastMs: 1000, mostMs: hour }), "10s", {
    placeholder: "DURATION",
    help: "how often the control plane is told who called what here, for remora policy suggest and test; off = nothing is kept",
  }),
  workers: defaulted(parse.wholeNumber(1, 64), "1", {
    placeholder: "N",
    help: "processes that carry the traffic, 1 to 64; one per processor core that is free for it",
  }),
  drainTimeout: defaulted(parse.duration({ leastMs: 0, mostMs: hour }), "30s", {
    placeholder: "DURATION",
    help: "longest wait for requests under way when stopping",
  }),
  drainDelay: defaulted(parse.duration({ leastMs: 0, mostMs: hour }), "5s", {
    placeholder: "DURATION",
    help: "wait between leaving the registry and refusing requests",
  }),
  readyTimeout: defaulted(parse.duration({ leastMs: 100, mostMs: hour }), "30s", {
    placeholder: "DURATION",
    help: "longest wait for certificate and first configuration",
  }),
  logLevel: defaulted(parse.oneOf("debug", "info", "warn", "error"), "info", {
    placeholder: "LEVEL",
    help: "least level that is logged",
  }),
  config,
};

/** Settings of `remora run`: applications find the mesh by HTTP_PROXY without asking for it. */
export const runSettings = {
  ...sidecarSettings,
  outbound: defaulted(parse.portOrOff, "0", {
    placeholder: "PORT",
    help: "port on 127.0.0.1 that routes by host name, given as HTTP_PROXY; 0 = any free port, off = none",
  }),
};
