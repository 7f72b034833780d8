import type { LatestValue } from "../lifecycle/latest-value.js";

/** An X.509-SVID with its private key and the trust bundle of its trust domain. The key never leaves memory or its 0600 file. */
export interface Svid {
  /** spiffe://<trust-domain>/ns/<namespace>/svc/<service> */
  readonly id: string;
  /** Leaf first, then intermediates. */
  readonly certChainPem: string;
  readonly keyPem: string;
  /** Root certificates that peers are verified against. */
  readonly bundlePem: string;
  /** Hexadecimal, upper case, as `openssl x509 -serial` prints. */
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Where a sidecar's present identity is read; set anew at each rotation. undefined until the first one is there. */
export type CertificateSource = LatestValue<Svid | undefined>;
