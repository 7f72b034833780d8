import type { KeyType } from "../certs/keys.js";
import type { Clock } from "../src/time/clock.js";

/** Everything that a control plane is started with. The command line merges flags, environment and file into it. */
export interface ControlPlaneSettings {
  /** Folder (0700) for the CA, the join tokens, the admin token and the policies. One control plane at a time. */
  readonly dataDir: string;
  /** host:port of the gRPC listener; port 0 = any free one. Default 127.0.0.1:15012, Istio's port. */
  readonly listen?: string | undefined;
  /** host:port of the admin API. Default 127.0.0.1:15014. */
  readonly admin?: string | undefined;
  /** Directory of policy documents. Default `<dataDir>/policies`. */
  readonly policiesDir?: string | undefined;
  /** Fixed when the CA is made. Default mesh.local. */
  readonly trustDomain?: string | undefined;
  /** What becomes of requests to services that no AuthorizationPolicy speaks about. Default allow. */
  readonly defaultAction?: "allow" | "deny" | undefined;
  /** Life of a sidecar's certificate, milliseconds, 2 s to 7 d. Default 24 h. */
  readonly leafTtlMs?: number | undefined;
  /** Of the keys of all certificates. Default ec-p256. */
  readonly leafKeyType?: KeyType | undefined;
  /** host:port of the endpoint that gives our bundle to other meshes; undefined: none. */
  readonly federationListen?: string | undefined;
  /** How often others shall look at it, seconds. Default 300. */
  readonly federationRefreshHint?: number | undefined;
  /** Life of a JWT-SVID, milliseconds, 10 s to 1 h. Default 5 min. */
  readonly jwtTtlMs?: number | undefined;
  /** Of the CA's key; undefined = it is not encrypted. */
  readonly caPassphrase?: string | undefined;
  /** Consul as the registry; undefined = the embedded one. */
  readonly consul?: ConsulSettings | undefined;
  /** Who gives identities: `remora` = this control plane (default); `consul` = Consul's mesh CA, with `consul` set. */
  readonly ca?: "remora" | "consul" | undefined;
  /** Consul's intentions count, with `consul` set. Default: with Consul's CA. */
  readonly intentions?: boolean | undefined;
  /** Default info. */
  readonly logLevel?: "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent" | undefined;
  /** Default the system's. */
  readonly clock?: Clock | undefined;
}

export interface ConsulSettings {
  /** `http://host:port` or `https://host:port` of an agent. */
  readonly url: string;
  readonly token?: string | undefined;
  /** PEM file of the CA that signed the agent's certificate. */
  readonly caFile?: string | undefined;
  readonly datacenter?: string | undefined;
}

/** The settings with every default in place. */
export function withDefaults(settings: ControlPlaneSettings) {
  return {
    listen: settings.listen ?? "127.0.0.1:15012",
    admin: settings.admin ?? "127.0.0.1:15014",
    trustDomain: settings.trustDomain ?? "mesh.local",
    federationRefreshHint: settings.federationRefreshHint ?? 300,
    jwtTtlMs: settings.jwtTtlMs ?? 300_000,
    logLevel: settings.logLevel ?? "info",
  };
}
