import { splitPemCertificates } from "../../certs/bundle.js";
import { refusalTexts } from "../../certs/certificate-error.js";
import { parseSpiffeId } from "../../certs/spiffe-id.js";
import { issuedAtMs } from "../../certs/validity.js";
import { verifySvidChain } from "../../certs/verify.js";
import type { Clock, Timer } from "../time/clock.js";
import { lifeLevel, renewAtMs, retryDelayMs, type LifeLevel } from "./renewal-schedule.js";
import type { CertificateSource, Svid } from "./svid.js";

/** What renewal tells logs and metrics. Times are Unix milliseconds. */
export type RenewalEvent =
  | { readonly kind: "renewed"; readonly svid: Svid }
  | { readonly kind: "failed"; readonly error: unknown; readonly attempt: number; readonly retryInMs: number }
  /** The level of the leaf in use has changed. "expired": peers refuse us from now on. */
  | { readonly kind: "level"; readonly level: LifeLevel; readonly notAfterMs: number };

export interface RenewalOptions {
  /** Read for the leaf in use, set to each new one. Empty: the first one is fetched at once. */
  readonly source: CertificateSource;
  /** Fetches a new identity (and stores it); rejects when it cannot. Given up, and `signal` aborted, after a minute. */
  readonly renew: (signal: AbortSignal) => Promise<Svid>;
  readonly clock: Clock;
  readonly onEvent: (event: RenewalEvent) => void;
}

/** At least this often the wall clock is looked at anew: it may jump, or the machine may have slept. */
const lookMs = 60_000;
/** A black-holed control plane answers nothing: without a bound the loop would wait for ever. */
const attemptMs = 60_000;

export interface RenewalLoop {
  /** Renews within this time, at a random moment, if that is earlier than what is planned. */
  hasten(withinMs: number): void;
  /** Tries at once, unless an attempt is under way or the last one was a moment ago. */
  hurry(): void;
  close(): void;
}

/** Between attempts that somebody hurries: as between those that fail. */
const hurryMs = 30_000;

type State =
  | { readonly kind: "waiting"; readonly dueMs: number; readonly attempt: number }
  | { readonly kind: "renewing"; readonly attempt: number; readonly abort: AbortController }
  | { readonly kind: "closed" };

/**
 * Keeps the identity in `source` fresh: renews at a random point of 50-75 % of its life, then tries every 30 s until it
 * succeeds. A failure never takes the leaf in use away. close() ends it; an attempt under way is aborted.
 */
export function startRenewal(options: RenewalOptions): RenewalLoop {
  return new Renewal(options);
}

class Renewal implements RenewalLoop {
  readonly #options: RenewalOptions;
  #state: State;
  #timer: Timer | undefined;
  #level: LifeLevel = "ok";
  /** When the last attempt began, Unix milliseconds. */
  #attemptedAtMs = -Infinity;

  constructor(options: RenewalOptions) {
    this.#options = options;
    this.#state = { kind: "waiting", dueMs: this.#firstDueMs(), attempt: 0 };
    this.#look();
  }

  close(): void {
    if (this.#state.kind === "renewing") this.#state.abort.abort(new Error("renewal was closed"));
    this.#state = { kind: "closed" };
    this.#timer?.cancel();
  }

  hasten(withinMs: number): void {
    if (this.#state.kind !== "waiting") return;
    const { clock } = this.#options;
    const dueMs = Math.min(this.#state.dueMs, clock.wallMs() + withinMs * clock.random());
    this.#state = { ...this.#state, dueMs };
    this.#look();
  }

  hurry(): void {
    const nowMs = this.#options.clock.wallMs();
    if (this.#state.kind !== "waiting" || nowMs - this.#attemptedAtMs < hurryMs) return;
    this.#state = { ...this.#state, dueMs: nowMs };
    this.#look();
  }

  #firstDueMs(): number {
    const svid = this.#options.source.get();
    return svid === undefined ? 0 : renewAtMs(svid, this.#options.clock.random());
  }

  /** What is due now? Runs at the due time, on each minute, and after each attempt. */
  #look(): void {
    if (this.#state.kind === "closed") return;
    const { clock } = this.#options;
    this.#tellLevel();
    const nowMs = clock.wallMs();
    if (this.#state.kind === "waiting" && nowMs >= this.#state.dueMs) this.#attempt(this.#state.attempt + 1);
    const untilDueMs = this.#state.kind === "waiting" ? this.#state.dueMs - nowMs : lookMs;
    this.#timer?.cancel();
    this.#timer = clock.timer(Math.min(lookMs, Math.max(1, untilDueMs)), () => this.#look());
  }

  #tellLevel(): void {
    const svid = this.#options.source.get();
    if (svid === undefined) return;
    const level = lifeLevel(svid, this.#options.clock.wallMs());
    if (level === this.#level) return;
    this.#level = level;
    this.#options.onEvent({ kind: "level", level, notAfterMs: svid.notAfterMs });
  }

  #attempt(attempt: number): void {
    const abort = new AbortController();
    this.#attemptedAtMs = this.#options.clock.wallMs();
    this.#state = { kind: "renewing", attempt, abort };
    const isOurs = (): boolean => this.#state.kind === "renewing" && this.#state.abort === abort;
    const settle = (act: () => void): void => {
      limit.cancel();
      if (!isOurs()) return; // closed, or given up: a late answer changes nothing
      act();
      this.#look();
    };
    const limit = this.#options.clock.timer(this.#attemptLimitMs(), () => {
      const error = new Error("the control plane did not answer in time");
      settle(() => this.#failed(error, attempt));
      abort.abort(error);
    });
    this.#fetch(abort.signal).then(
      (svid) => settle(() => this.#renewed(svid)),
      (error: unknown) => settle(() => this.#failed(error, attempt)),
    );
  }

  /** A leaf of seconds cannot wait a minute for one answer. */
  #attemptLimitMs(): number {
    const svid = this.#options.source.get();
    if (svid === undefined) return attemptMs;
    return Math.min(attemptMs, Math.max(1000, (svid.notAfterMs - issuedAtMs(svid)) / 4));
  }

  /** A new identity that peers would refuse is a failure of renewal, not something to serve. */
  async #fetch(signal: AbortSignal): Promise<Svid> {
    const { source, renew, clock } = this.#options;
    const svid = await renew(signal);
    const present = source.get();
    if (present !== undefined && present.id !== svid.id)
      throw new Error(`the CA answered with ${svid.id} instead of ${present.id}`);
    const verdict = verifySvidChain(splitPemCertificates(svid.certChainPem), svid.bundlePem, {
      nowMs: clock.wallMs(),
      trustDomain: parseSpiffeId(svid.id).trustDomain,
    });
    if (!verdict.ok)
      throw new Error(`the CA answered with an unusable certificate: ${refusalTexts[verdict.reason]}`);
    return svid;
  }

  #renewed(svid: Svid): void {
    this.#options.source.set(svid);
    this.#state = { kind: "waiting", dueMs: renewAtMs(svid, this.#options.clock.random()), attempt: 0 };
    this.#options.onEvent({ kind: "renewed", svid });
  }

  #failed(error: unknown, attempt: number): void {
    const { source, clock, onEvent } = this.#options;
    const retryInMs = retryDelayMs(source.get(), clock.random());
    this.#state = { kind: "waiting", dueMs: clock.wallMs() + retryInMs, attempt };
    onEvent({ kind: "failed", error, attempt, retryInMs });
  }
}
