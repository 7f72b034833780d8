/** The inbound requests that the local application makes an outbound one for, as far as is known. */
export interface Origin {
  /**
   * On the way behind this hop retries were spent on it, or there were none left: whoever repeats the whole adds only load. Set
   * by the outbound side, told by the inbound one.
   */
  hasSpentRetries: boolean;
  /** SPIFFE id that the callers of all of them prove; undefined: not all the same, or one proves none. */
  readonly callerId: string | undefined;
  /** IP address that all of them came from; undefined: not all the same. */
  readonly callerAddress: string | undefined;
}
