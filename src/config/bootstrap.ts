import type { ConsulAccess } from "./consul-access.js";
import type { Protocol } from "./snapshot.js";

/** IP literal, and a port when it is not the inbound one. */
export interface WanAddress {
  readonly address: string;
  readonly port?: number;
}

/** The static settings of one sidecar, fixed for its life. Flags, environment and file are merged by the command line. */
export interface Bootstrap {
  /** Name of the service that this sidecar stands beside. */
  readonly service: string;
  readonly namespace: string;
  /** The local application: where inbound requests go. */
  readonly appAddress: string;
  readonly appPort: number;
  readonly protocol: Protocol;
  readonly upstreams: readonly UpstreamBinding[];
  /** Host-routed outbound listener on 127.0.0.1; 0 = any free port, undefined = none. */
  readonly outboundPort: number | undefined;
  /** mTLS listener; 0 = any free port. */
  readonly inboundPort: number;
  /** Address the inbound listener binds to. */
  readonly inboundAddress: string;
  /** Address that other sidecars reach this one at. */
  readonly advertiseAddress: string;
  /** Where sidecars in other Consul datacenters reach this one. Absent: there too. */
  readonly wanAddress?: WanAddress;
  /** Admin API on 127.0.0.1; 0 = any free port. */
  readonly adminPort: number;
  /** host:port of the control plane's gRPC listener. */
  readonly controlPlane: string;
  /** File that holds the one-time join token, "-" for standard input; needed only until the first certificate was issued. */
  readonly tokenFile: string | undefined;
  /** File with an ACL token of Consul, in the place of a join token. */
  readonly consulJoinFile?: string;
  /** SHA-256 of the root that the control plane must have, 64 lower-case hexadecimal digits. */
  readonly caFingerprint?: string;
  /** The agent whose mesh CA gives the identity, so that peers may be Consul's own proxies; absent: the control plane gives it. */
  readonly consulCa?: ConsulAccess;
  /** How long a control plane that does not answer is waited for at the very first start, milliseconds. Absent: 0. */
  readonly enrollTimeoutMs?: number;
  /** Folder (0700) for the key, the certificate and the last good snapshot. */
  readonly stateDir: string;
  readonly zone: string;
  readonly meta: Readonly<Record<string, string>>;
  readonly accessLog: AccessLogConfig;
  /** Processes that carry the traffic, 1 to 64; absent or 1: this process does. */
  readonly workers?: number;
  /** How often the control plane is told what was called, milliseconds; absent: nothing of it is kept. */
  readonly observeCallsMs?: number;
  /** redis://[user:password@]host[:port][/database], or rediss:// for TLS: what instances count together. */
  readonly redisUrl?: string;
  /** Unix socket that the SPIFFE Workload API is served at; absent: it is not. */
  readonly workloadApi?: string;
  /** Who tells peers about this instance. */
  readonly registration: RegistrationConfig;
  /** Longest wait for requests under way when draining, milliseconds. */
  readonly drainTimeoutMs: number;
  /** Wait between leaving the registry and refusing work, milliseconds, so that peers have heard of it. */
  readonly drainDelayMs: number;
}

export interface UpstreamBinding {
  /** `<service>` or `<service>.<namespace>`. */
  readonly service: string;
  /** Port on 127.0.0.1; 0 = any free port. */
  readonly port: number;
}

export type RegistrationConfig =
  /** The control plane's embedded registry. */
  | { readonly kind: "embedded" }
  /** The local Consul agent. */
  | {
      readonly kind: "consul";
      readonly url: string;
      readonly token: string | undefined;
      readonly caFile: string | undefined;
      readonly tags: readonly string[];
      readonly checks: readonly AppCheck[];
    }
  /** Somebody else registers. */
  | { readonly kind: "none" };

/** How Consul finds out whether the application is well. */
export type AppCheck =
  | { readonly kind: "http"; readonly path: string; readonly intervalMs: number; readonly timeoutMs: number }
  | { readonly kind: "tcp"; readonly intervalMs: number; readonly timeoutMs: number }
  | { readonly kind: "ttl"; readonly ttlMs: number };

export interface AccessLogConfig {
  readonly format: "off" | "text" | "json";
  /** "-" is standard output. */
  readonly path: string;
}

/** Whether its application has a way to call others through it. */
export function callsOthers({ upstreams, outboundPort }: Bootstrap): boolean {
  return upstreams.length > 0 || outboundPort !== undefined;
}
