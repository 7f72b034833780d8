import { defaultLeafTtlMs, issueLeaf, maxLeafTtlMs, type Authority } from "../../certs/authority.js";
import { CertificateError } from "../../certs/certificate-error.js";
import { parseCsr, type SigningRequest } from "../../certs/csr.js";
import type { KeyType } from "../../certs/keys.js";
import { isServiceName } from "../../certs/spiffe-id.js";
import { ConfigError } from "../../src/errors/config-error.js";
import type { Clock } from "../../src/time/clock.js";
import { createCallRate } from "./call-rate.js";

/** Who asks, as the join token or the peer certificate proves it; never as the request says. */
export interface Caller {
  readonly namespace: string;
  readonly service: string;
}

export interface Issued {
  readonly certChainPem: string;
  /** The roots that the caller shall trust. */
  readonly bundlePem: string;
  /** The one of them that the chain leads to. */
  readonly rootPem: string;
  readonly notAfterMs: number;
  readonly serial: string;
}

/** The CA that signs now, and the roots that its leaves come with. */
export interface SigningCa {
  readonly authority: Authority;
  readonly bundlePem: string;
}

/**
 * Why the CA does not sign. `bad_request`: the caller's fault; `wrong_key_type`: with a key of another kind it will;
 * `rate_limited`: later; `ca_expired`: the operator's.
 */
export class IssueError extends Error {
  override readonly name = "IssueError";
  readonly code: "bad_request" | "wrong_key_type" | "rate_limited" | "ca_expired";

  constructor(code: IssueError["code"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export interface Issuer {
  /** The only kind of keys that is signed. undefined: every kind will do. */
  readonly keyType: KeyType | undefined;
  /** Is there a key in `csrPem` that can be signed? @throws IssueError */
  check(csrPem: string): void;
  /**
   * Signs a leaf for `caller` with the key of `csrPem`; all else in the request is ignored.
   * @param ttlMs wished life; at most the CA's setting, at least 2 s.
   * @throws IssueError
   */
  issue(caller: Caller, csrPem: string, ttlMs?: number): Issued;
}

/** All instances of a service together; one of them is held to less (enrollment-handler.ts). */
const callsPerSecond = 100;
/** Below this, whole seconds of X.509 leave nothing. */
const minTtlMs = 2000;

/**
 * The signing part of the CA.
 * @param options.ttlMs life of a leaf, and the most that a caller can wish for; default 24 h, 2 s to 7 d.
 * @param options.keyType of all leaves; absent: each caller's own choice.
 * @throws ConfigError for a life out of range.
 */
export function createIssuer(options: {
  /** One CA for good, or the one that is asked for before each leaf. */
  readonly root: Authority | (() => SigningCa);
  readonly clock: Clock;
  readonly ttlMs?: number;
  readonly keyType?: KeyType | undefined;
}): Issuer {
  const { root, clock, keyType } = options;
  const signing = typeof root === "function" ? root : () => ({ authority: root, bundlePem: root.rootPem });
  const longestMs = options.ttlMs ?? defaultLeafTtlMs;
  if (!(longestMs >= minTtlMs && longestMs <= maxLeafTtlMs))
    throw new ConfigError(`the life of a leaf must lie between 2s and 168h, not ${longestMs}ms`);
  const rate = createCallRate(callsPerSecond);
  return {
    keyType,
    check: (csrPem) => void readCsr(csrPem, keyType),
    issue(caller, csrPem, ttlMs = longestMs) {
      const who = `${caller.service}.${caller.namespace}`;
      if (!isServiceName(caller.service) || !isServiceName(caller.namespace))
        throw new IssueError("bad_request", `${JSON.stringify(who)} cannot be the name of a service`);
      if (!rate.take(who, clock.monotonicMs())) {
        const text = `${who} asks for more than ${callsPerSecond} certificates a second: ask again in a second`;
        throw new IssueError("rate_limited", text);
      }
      const wishedMs = Number.isFinite(ttlMs) ? ttlMs : longestMs;
      const lifeMs = Math.min(longestMs, Math.max(minTtlMs, wishedMs));
      return sign(signing(), caller, readCsr(csrPem, keyType), { nowMs: clock.wallMs(), ttlMs: lifeMs });
    },
  };
}

function readCsr(csrPem: string, wanted: KeyType | undefined): SigningRequest {
  const request = explained(() => parseCsr(csrPem));
  if (wanted === undefined || request.keyType === wanted) return request;
  throw new IssueError("wrong_key_type", `keys of this mesh are ${wanted}, not ${request.keyType}`);
}

function sign(
  { authority, bundlePem }: SigningCa,
  identity: Caller,
  { publicKeySpki }: SigningRequest,
  when: { readonly nowMs: number; readonly ttlMs: number },
): Issued {
  const leaf = explained(() => issueLeaf(authority, { identity, publicKeySpki, ...when }));
  return {
    certChainPem: `${leaf.certPem}${authority.intermediatesPem}`,
    bundlePem,
    rootPem: authority.rootPem,
    notAfterMs: leaf.notAfterMs,
    serial: leaf.serial,
  };
}

function explained<T>(act: () => T): T {
  try {
    return act();
  } catch (error: unknown) {
    if (!(error instanceof CertificateError)) throw error;
    const code = error.reason === "expired" ? "ca_expired" : "bad_request";
    throw new IssueError(code, error.message, { cause: error });
  }
}
