import { messageOf } from "../errors/message-of.js";
import type { Client } from "@grpc/grpc-js";
import type { Snapshot } from "../config/snapshot.js";
import type { MeshTrust } from "../identity/mesh-trust.js";
import type { LatestValue } from "../lifecycle/latest-value.js";
import { fullJitterMs } from "../time/backoff.js";
import type { Clock, Timer } from "../time/clock.js";
import { openAdsStream } from "./ads-stream.js";
import type { AdsStream } from "./ads-stream.js";
import { connectFailure } from "./connect-failure.js";
import type { SidecarNode } from "./node.js";

export interface AdsClientOptions {
  /** gRPC client on the newest certificate; a new one makes the stream move to it. Owned by the caller. */
  readonly client: Pick<LatestValue<Client | undefined>, "get" | "watch">;
  readonly node: SidecarNode;
  /**
   * Puts a complete snapshot in force, synchronously. What it throws refuses the push with its message. Each new stream
   * begins with one, also when it is the one in force: then it says that this is still the newest.
   */
  readonly onSnapshot: (snapshot: Snapshot) => void;
  /** The same for whom the mesh believes, which belongs to no snapshot. */
  readonly onTrust?: (trust: MeshTrust) => void;
  /** Version of the trust in force, told to the control plane at the begin of each stream; "" = none. */
  readonly trustVersion?: () => string;
  readonly onState?: (state: AdsState) => void;
  readonly clock: Clock;
}

/** How the sidecar stands with its control plane. */
export interface AdsState {
  readonly connected: boolean;
  /** Why the last stream ended or the last push was refused. */
  readonly lastError: string | undefined;
  /** Pushes refused since the start. */
  readonly nacks: number;
  /** Of the last snapshot from the control plane that is in force. */
  readonly version: string | undefined;
}

/** The sidecar's side of the config protocol. */
export interface AdsClient {
  readonly state: () => AdsState;
  /** Opens a new stream, and drops the old one as soon as the new one is accepted. */
  reconnect(): void;
  close(): void;
}

/** Behaviour.md row 64; full jitter keeps a thousand sidecars from coming back at once. */
const backoff = { baseMs: 100, maxMs: 10_000 };
/** A stream that lived this long was no failure: its successor starts without a penalty. */
const healthyLifeMs = 10_000;

/** Opens the stream at once and for ever again until close(); the last snapshot stays in force while there is none. */
export function createAdsClient(options: AdsClientOptions): AdsClient {
  return new ReconnectingClient(options);
}

class ReconnectingClient implements AdsClient {
  readonly #options: AdsClientOptions;
  readonly #stopWatching: () => void;
  /** The accepted stream. */
  #current: AdsStream | undefined;
  /** The one that is being opened. */
  #next: AdsStream | undefined;
  #retry: Timer | undefined;
  #failures = 0;
  #isClosed = false;
  #state: AdsState = { connected: false, lastError: undefined, nacks: 0, version: undefined };

  constructor(options: AdsClientOptions) {
    this.#options = options;
    this.#stopWatching = options.client.watch(() => this.reconnect());
    this.#open();
  }

  state(): AdsState {
    return this.#state;
  }

  reconnect(): void {
    // An attempt under way may be on the client before.
    this.#next?.cancel();
    this.#next = undefined;
    this.#open();
  }

  close(): void {
    this.#isClosed = true;
    this.#stopWatching();
    this.#retry?.cancel();
    this.#next?.cancel();
    this.#current?.cancel();
    this.#next = this.#current = undefined;
  }

  #open(): void {
    const client = this.#options.client.get();
    if (this.#isClosed || client === undefined) return;
    this.#retry?.cancel();
    const { node, clock } = this.#options;
    const startMs = clock.monotonicMs();
    const open = (): AdsStream =>
      openAdsStream({
        client,
        node,
        knownTrust: this.#options.trustVersion?.() ?? "",
        clock,
        onOpen: () => this.#accepted(stream),
        onSnapshot: (snapshot) => this.#apply(snapshot),
        onTrust: (trust) => this.#believe(trust),
        onRefusal: (lastError) => this.#update({ nacks: this.#state.nacks + 1, lastError }),
        onEnd: (reason) => this.#ended(stream, reason, clock.monotonicMs() - startMs),
      });
    let stream: AdsStream | undefined;
    try {
      stream = open();
      this.#next = stream;
    } catch (error) {
      // grpc-js throws when its owner has closed the client meanwhile.
      this.#ended(undefined, messageOf(error), 0);
    }
  }

  #accepted(stream: AdsStream | undefined): void {
    this.#current?.cancel();
    this.#current = stream;
    this.#next = undefined;
    this.#update({ connected: true });
  }

  #ended(stream: AdsStream | undefined, reason: string, lifeMs: number): void {
    if (stream !== undefined && stream === this.#next) this.#next = undefined;
    if (stream !== undefined && stream === this.#current) {
      this.#current = undefined;
      if (lifeMs >= healthyLifeMs) this.#failures = 0;
    }
    this.#update({ connected: this.#current !== undefined, lastError: connectFailure(reason) });
    // A successor may be on its way already.
    if (this.#next !== undefined || this.#isClosed) return;
    const { clock } = this.#options;
    const waitMs = fullJitterMs(backoff, this.#failures++, () => clock.random());
    this.#retry?.cancel();
    this.#retry = clock.timer(waitMs, () => this.#open());
  }

  #apply(snapshot: Snapshot): string | undefined {
    try {
      this.#options.onSnapshot(snapshot);
    } catch (error) {
      return messageOf(error);
    }
    this.#update({ version: snapshot.version, lastError: undefined });
    return undefined;
  }

  #believe(trust: MeshTrust): string | undefined {
    try {
      this.#options.onTrust?.(trust);
      return undefined;
    } catch (error) {
      return messageOf(error);
    }
  }

  #update(change: Partial<AdsState>): void {
    this.#state = { ...this.#state, ...change };
    this.#options.onState?.(this.#state);
  }
}
