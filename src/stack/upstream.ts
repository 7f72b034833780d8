import type { EndpointConfig } from "../config/snapshot.js";

/** What a request remembers of an endpoint it was sent to: enough to tell endpoints apart and to log them. */
export interface Upstream {
  /** address:port plus whether it is meshed: what makes two endpoints the same one. */
  readonly key: string;
  /** Replaced by the endpoint set when weight or meta change; address and port never do. */
  config: EndpointConfig;
}
