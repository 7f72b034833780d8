import type { IdempotencyConfig } from "../config/idempotency-config.js";
import { ProxyError } from "../errors/proxy-error.js";

/** What requests are told that are neither executed nor answered from the store. */
export class IdempotencyRefusals {
  readonly #methods: string;
  readonly #source: string;
  readonly #maxBodyBytes: number;
  /** One for all: under a flood of repeated requests, a stack trace for each would add to the load. */
  #conflict: ProxyError | undefined;

  constructor({ methods, source, maxBodyBytes }: IdempotencyConfig) {
    this.#methods = methods.join(" and ");
    this.#source = source;
    this.#maxBodyBytes = maxBodyBytes;
  }

  missing(): ProxyError {
    return new ProxyError(
      "idempotency_key_missing",
      `${this.#methods} requests need a header Idempotency-Key, source=${this.#source}`,
    );
  }

  invalid(reason: string): ProxyError {
    return new ProxyError("idempotency_key_invalid", `${reason}, source=${this.#source}`);
  }

  conflict(): ProxyError {
    this.#conflict ??= new ProxyError(
      "idempotency_conflict",
      `the first request with this key is still being processed: come again for its response, source=${this.#source}`,
      { headers: ["retry-after", "1"] },
    );
    return this.#conflict;
  }

  mismatch(): ProxyError {
    return new ProxyError(
      "idempotency_mismatch",
      `the key was used for another request (method, path, query and body must be the same), source=${this.#source}`,
    );
  }

  notKept(status: number): ProxyError {
    return new ProxyError(
      "idempotency_not_kept",
      `it was executed and answered with status ${status}, limit=maxBodyBytes, value=${this.#maxBodyBytes}, source=${this.#source}`,
    );
  }

  full(limit: number): ProxyError {
    return new ProxyError(
      "idempotency_store_full",
      `${limit} of ${limit} requests with a key under way, source=${this.#source}`,
    );
  }

  unavailable(reason: string): ProxyError {
    return new ProxyError("idempotency_store_unavailable", `${reason}, source=${this.#source}`);
  }
}
