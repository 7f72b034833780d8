import type { IdempotencyConfig } from "../config/idempotency-config.js";

/** The stores of all configurations, by name: what is in them outlives every push that still has the configuration. */
export interface IdempotencyStores {
  /** The store for a configuration, whose bounds may have changed since the last time. */
  store(config: IdempotencyConfig): IdempotencyStore;
  /** Every configuration of a push has asked: the stores that none asked for are forgotten. */
  settle(): void;
}

/** Where executions and their outcomes are remembered. */
export interface IdempotencyStore {
  /**
   * Asks for the right to execute. `answer` is called once, perhaps before this returns.
   * @param id entryId of the key.
   * @param operation what is to be executed, told to whoever comes while it is under way.
   */
  claim(id: string, operation: string, answer: (found: Found) => void): void;
}

/** What a store knows of a key. */
export type Found =
  /** Nothing: the caller executes, and must settle the claim. */
  | { readonly state: "claimed"; readonly claim: Claim }
  | { readonly state: "running"; readonly operation: string }
  /** `reply`: an encoded StoredReply. */
  | { readonly state: "done"; readonly reply: Buffer }
  /** As many executions under way as there may be. */
  | { readonly state: "full"; readonly limit: number }
  /** The store cannot be asked. `reason`: why, for the error text. */
  | { readonly state: "unavailable"; readonly reason: string };

/** The right to execute, until one of both is called, once. */
export interface Claim {
  /** Keeps the outcome for later requests. */
  keep(reply: Buffer): void;
  /** Forgets the execution: the next request with the key executes. */
  free(): void;
}
