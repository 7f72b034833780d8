/** How a Consul agent is reached. */
export interface ConsulAccess {
  /** `http://host:port` or `https://host:port`, a path prefix allowed. */
  readonly url: string;
  readonly token?: string | undefined;
  /** PEM file of the CA that signed the agent's certificate. */
  readonly caFile?: string | undefined;
}
