import { refusalTexts } from "../../certs/certificate-error.js";
import { splitPemCertificates } from "../../certs/bundle.js";
import { parseSpiffeId } from "../../certs/spiffe-id.js";
import { verifySvidChain } from "../../certs/verify.js";
import type { ConsulAccess } from "../config/consul-access.js";
import { ConfigError } from "../errors/config-error.js";
import { assembleSvid } from "../identity/assemble-svid.js";
import type { RenewalEvent } from "../identity/renewal.js";
import { lifeLevel, type LifeLevel } from "../identity/renewal-schedule.js";
import { loadSvid, makeStateFolder, saveSvid } from "../identity/svid-file.js";
import type { CertificateSource, Svid } from "../identity/svid.js";
import { LatestValue } from "../lifecycle/latest-value.js";
import type { Clock } from "../time/clock.js";
import { startBlockingQuery } from "./blocking-query.js";
import {
  leafPath,
  readLeaf,
  readRoots,
  rootsPath,
  type ConnectLeaf,
  type ConnectRoots,
} from "./connect-ca.js";
import { ConsulReadError, createConsulHttp, type ConsulAnswer } from "./consul-http.js";

export interface ConnectIdentityOptions {
  readonly agent: ConsulAccess;
  /** Whom the agent is asked for a certificate of. */
  readonly service: string;
  /** Where the identity is kept, so that a start needs no agent. */
  readonly stateDir: string;
  /** How long an agent that does not answer is waited for, milliseconds, when nothing is kept. */
  readonly waitMs: number;
  readonly clock: Clock;
  /** The agent does not answer yet; told once, with the reason. */
  readonly onWaiting: (reason: string) => void;
  readonly onEvent: (event: RenewalEvent) => void;
  /** A certificate that could not be saved: it is in use, but a restart will not find it. */
  readonly onSaveFailed: (error: unknown) => void;
}

/** An identity of Consul's mesh CA, for as long as somebody needs it. */
export interface ConnectIdentity {
  readonly source: CertificateSource;
  /** Nothing: the agent says what the roots are. */
  useBundle(bundlePem: string): void;
  /** Nothing either: it gives a new certificate when there is one. */
  refused(): void;
  close(): void;
}

/** Failures are told at once, and then so often. */
const reminderMs = 60_000;
const lookMs = 60_000;
const maxBackoffMs = 10_000;

/**
 * A service's certificate and the roots to trust, as the local agent has them, followed by two long polls: the agent
 * renews the leaf and takes part in rotations of the CA, old and new root are both trusted meanwhile. While the agent is
 * away the identity in use stays.
 *
 * @throws ConfigError the token has no right to the service, or there is neither an agent nor a kept identity.
 */
export async function keepConnectIdentity(options: ConnectIdentityOptions): Promise<ConnectIdentity> {
  const { stateDir, service, clock } = options;
  const saved = await loadSvid(stateDir);
  if (saved !== undefined) refuseForeign(saved, options);
  await makeStateFolder(stateDir);
  const usable = saved !== undefined && saved.notAfterMs > clock.wallMs() ? saved : undefined;
  const keeper = new Keeper(options, usable);
  try {
    await keeper.ready;
    await keeper.saved();
  } catch (error: unknown) {
    keeper.close();
    throw error instanceof ConfigError ? error : new ConfigError(reasonOf(error, service), { cause: error });
  }
  return {
    source: keeper.source,
    useBundle: () => undefined,
    refused: () => undefined,
    close: () => keeper.close(),
  };
}

/** Two services that share a state directory by mistake would take each other's identity. */
function refuseForeign({ id }: Svid, { stateDir, service }: ConnectIdentityOptions): void {
  const { service: owner, datacenter } = parseSpiffeId(id);
  if (owner === service && datacenter !== undefined) return;
  throw new ConfigError(
    `${stateDir} holds the identity ${id}, which is not Consul's of ${service}: name another folder`,
    { place: "--state-dir" },
  );
}

class Keeper {
  readonly source: CertificateSource = new LatestValue<Svid | undefined>(undefined);
  /** Settles when there is an identity, or when there will be none. */
  readonly ready: Promise<void>;
  readonly #options: ConnectIdentityOptions;
  readonly #ended = new AbortController();
  #roots: ConnectRoots | undefined;
  #leaf: ConnectLeaf | undefined;
  #saving = Promise.resolve();
  #level: LifeLevel = "ok";
  #failures = 0;
  #toldAtMs = -Infinity;

  constructor(options: ConnectIdentityOptions, saved: Svid | undefined) {
    const { agent, clock, service } = options;
    this.#options = options;
    const http = createConsulHttp({ ...agent, clock });
    this.#ended.signal.addEventListener("abort", () => http.close(), { once: true });
    let settled = (_error?: unknown): void => undefined;
    this.ready = new Promise((resolve, reject) => {
      settled = (error) => (error === undefined ? resolve() : reject(error));
    });
    const began = clock.monotonicMs();
    const failed = (error: Error): void => {
      if (this.source.get() !== undefined) return this.#tell(error);
      // No right to this service: what is kept must not be used either.
      if (error instanceof ConsulReadError && error.status === 403) return settled(error);
      if (saved !== undefined) {
        this.source.set(saved);
        this.#tell(error);
        return settled();
      }
      if (clock.monotonicMs() - began >= options.waitMs) return settled(error);
      if (this.#failures++ === 0) options.onWaiting(reasonOf(error, service));
    };
    const watch = (path: string, take: (answer: ConsulAnswer) => void): void =>
      void startBlockingQuery({
        get: http.get,
        path,
        clock,
        signal: this.#ended.signal,
        maxBackoffMs,
        onAnswer: (answer) => {
          take(answer);
          if (this.source.get() !== undefined) settled();
        },
        onError: failed,
      });
    watch(rootsPath, (answer) => {
      this.#roots = readRoots(answer.body) ?? refuse(rootsPath);
      this.#combine();
    });
    watch(leafPath(service), (answer) => {
      this.#leaf = readLeaf(answer.body) ?? refuse(leafPath(service));
      this.#combine();
    });
    const look = (): void => {
      this.#tellLevel();
      timer = clock.timer(lookMs, look);
    };
    let timer = clock.timer(lookMs, look);
    this.#ended.signal.addEventListener("abort", () => timer.cancel(), { once: true });
  }

  /** What is in use by now is on the disk, or its failure was told. */
  saved(): Promise<void> {
    return this.#saving;
  }

  close(): void {
    this.#ended.abort();
  }

  /** Roots and leaf come apart: in the middle of a rotation one of them may be ahead. */
  #combine(): void {
    if (this.#roots === undefined || this.#leaf === undefined) return;
    const { clock, onEvent, service } = this.#options;
    const { bundlePem, trustDomain } = this.#roots;
    const present = this.source.get();
    if (present?.certChainPem === this.#leaf.certChainPem && present.bundlePem === bundlePem) return;
    const svid = assembleSvid({ ...this.#leaf, bundlePem });
    const verdict = verifySvidChain(splitPemCertificates(svid.certChainPem), bundlePem, {
      nowMs: clock.wallMs(),
      trustDomain,
    });
    if (!verdict.ok) throw new Error(`consul's certificate is unusable: ${refusalTexts[verdict.reason]}`);
    if (parseSpiffeId(svid.id).service !== service)
      throw new Error(`consul answered with the certificate of ${svid.id} instead of ${service}`);
    // All that was built on the identity is somebody else's then.
    if (present !== undefined && present.id !== svid.id)
      throw new Error(`consul answered with ${svid.id} instead of ${present.id}: restart to join that mesh`);
    this.source.set(svid);
    this.#failures = 0;
    this.#toldAtMs = -Infinity;
    this.#save(svid);
    if (present !== undefined && present.serial !== svid.serial) onEvent({ kind: "renewed", svid });
    this.#tellLevel();
  }

  #save(svid: Svid): void {
    const { stateDir, onSaveFailed } = this.#options;
    // One after the other: the newest must be the last.
    this.#saving = this.#saving.then(() => saveSvid(stateDir, svid)).catch(onSaveFailed);
  }

  #tell(error: Error): void {
    const { clock, onEvent, service } = this.#options;
    this.#failures++;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#toldAtMs < reminderMs) return;
    this.#toldAtMs = nowMs;
    const told = new Error(reasonOf(error, service), { cause: error });
    onEvent({ kind: "failed", error: told, attempt: this.#failures, retryInMs: maxBackoffMs });
  }

  #tellLevel(): void {
    const svid = this.source.get();
    if (svid === undefined) return;
    const level = lifeLevel(svid, this.#options.clock.wallMs());
    if (level === this.#level) return;
    this.#level = level;
    this.#options.onEvent({ kind: "level", level, notAfterMs: svid.notAfterMs });
  }
}

function refuse(path: string): never {
  throw new Error(`${path}: the answer is not Consul's`);
}

function reasonOf(error: unknown, service: string): string {
  const text = error instanceof Error ? error.message : String(error);
  if (!(error instanceof ConsulReadError) || error.status !== 403) return text;
  return `consul refuses a certificate for ${service} (403): its token needs service:write for ${service}`;
}
