import { contentTypes, typeUrls } from "../../src/discovery/resource.js";
import type { ResourceSet, XdsResource, XdsResources } from "../../src/discovery/resource.js";
import { Subscription } from "./subscription.js";
import type { Wanted } from "./subscription.js";

/** What is sent to one client. */
export interface Target {
  /** Snapshot.version. */
  readonly version: string;
  readonly resources: XdsResources;
}

/** A request of the client, checked. */
export interface SessionRequest {
  readonly typeUrl: string;
  readonly nonce: string;
  /** What the client says that it has in force; "" = nothing. */
  readonly version?: string;
  readonly names: readonly string[];
  /** Why the client refused the response that `nonce` names. */
  readonly refusal: string | undefined;
}

/** A response to be sent. */
export interface SessionResponse {
  readonly typeUrl: string;
  readonly version: string;
  readonly nonce: string;
  readonly resources: readonly XdsResource[];
}

export type SyncState = "SYNCED" | "STALE" | "NACK";

/** A response must fit into what clients take (src/discovery/control-plane-tls.ts: 64 MiB, gRPC's default is less). */
const maxResponseBytes = 32 * 1024 * 1024;
/**
 * Trust before all: who was revoked is to be gone at once. Then additions, so that nothing refers to what is not there yet;
 * the binding resource last.
 */
const order: readonly string[] = [typeUrls.trust, ...contentTypes, typeUrls.snapshot];

/**
 * The server's side of one ADS stream (state of the world), without the I/O. Level-triggered: next() compares what the
 * client has with the newest target, so what lies between is skipped and nothing queues up.
 */
export class XdsSession {
  readonly #subscriptions = new Map<string, Subscription>();
  #target: Target | undefined;
  /** The same for all clients, and there before anything else is known. */
  #trust: ResourceSet | undefined;
  #trustVersion: string | undefined;
  #nonces = 0;
  #sentVersion: string | undefined;
  #ackedVersion: string | undefined;

  retarget(target: Target): void {
    this.#target = target;
  }

  retrust(trust: ResourceSet | undefined): void {
    this.#trust = trust;
  }

  /** Returns whether the client accepted or refused something. */
  receive(request: SessionRequest): "accepted" | "refused" | "subscribed" | "stale" {
    const { typeUrl, nonce, names, refusal } = request;
    if (!order.includes(typeUrl)) return "stale"; // a type of others
    const known = this.#subscriptions.get(typeUrl);
    if (known === undefined) {
      this.#subscriptions.set(typeUrl, new Subscription(typeUrl, names, nonce));
      // From a stream before: else each new stream would look as if it believed nobody.
      if (typeUrl === typeUrls.trust && request.version !== "") this.#trustVersion = request.version;
      return "subscribed";
    }
    // Other names before the first response has arrived: that one may still be on its way, and is answered later.
    const isEarly = nonce === "";
    if (!isEarly && nonce !== known.nonce) return "stale"; // a later response is on its way: its answer counts
    if (!isEarly && refusal === undefined) {
      known.accept();
      if (typeUrl === typeUrls.trust) this.#trustVersion = known.sentVersion;
    }
    if (!isEarly && refusal !== undefined) known.refuse(refusal);
    known.rename(names);
    if (isEarly) return "subscribed";
    if (this.state() === "SYNCED") this.#ackedVersion = this.#target?.version;
    return refusal === undefined ? "accepted" : "refused";
  }

  /** What to send now, or undefined. To be called again after each response and each request. */
  next(): SessionResponse | undefined {
    for (const typeUrl of order) {
      const subscription = this.#subscriptions.get(typeUrl);
      const wanted = this.#wanted(typeUrl);
      if (subscription === undefined || wanted === undefined) continue;
      const resources = subscription.pending(wanted);
      if (resources === undefined) continue;
      const size = resources.reduce((sum, { bytes }) => sum + bytes.length + typeUrl.length + 16, 0);
      if (size > maxResponseBytes) {
        subscription.refuse(`not sent: ${typeUrl} has ${size} bytes, more than ${maxResponseBytes}`, wanted);
        continue;
      }
      const nonce = String(++this.#nonces);
      subscription.markSent(wanted, nonce);
      return { typeUrl, version: wanted.version, nonce, resources };
    }
    if (this.#subscriptions.size > 0) this.#sentVersion = this.#target?.version;
    return undefined;
  }

  state(): SyncState {
    if (this.refusal() !== undefined) return "NACK";
    if (this.#target === undefined || this.#subscriptions.size === 0) return "STALE";
    const isSynced = [...this.#subscriptions].every(([typeUrl, subscription]) => {
      const wanted = this.#wanted(typeUrl);
      return wanted === undefined ? typeUrl === typeUrls.trust : subscription.hasAccepted(wanted);
    });
    return isSynced ? "SYNCED" : "STALE";
  }

  /** Why the client does not have the target. */
  refusal(): string | undefined {
    for (const [typeUrl, subscription] of this.#subscriptions) {
      const wanted = this.#wanted(typeUrl);
      const reason = wanted === undefined ? undefined : subscription.refusalOf(wanted);
      if (reason !== undefined) return reason;
    }
    return undefined;
  }

  /** Version of the last snapshot that was sent in full. */
  get sentVersion(): string | undefined {
    return this.#sentVersion;
  }

  /** Version of the last snapshot that the client has accepted in full. */
  get ackedVersion(): string | undefined {
    return this.#ackedVersion;
  }

  /** Version of the last trust that the client has accepted. */
  get trustVersion(): string | undefined {
    return this.#trustVersion;
  }

  #setOf(typeUrl: string): ResourceSet | undefined {
    return typeUrl === typeUrls.trust ? this.#trust : this.#target?.resources.get(typeUrl);
  }

  /**
   * Clusters that are to go stay until the client has accepted the listeners and routes that no longer refer to them
   * (xDS protocol, "eventual consistency considerations": make before break). A client that names its clusters, as gRPC does,
   * has them for as long as it names them: calls under way may still want one whose routes are gone.
   */
  #wanted(typeUrl: string): Wanted | undefined {
    const subscription = this.#subscriptions.get(typeUrl);
    const set = this.#setOf(typeUrl);
    if (subscription === undefined || set === undefined) return undefined;
    const isKeeping = typeUrl === typeUrls.cluster && (subscription.isNamed || !this.#hasMovedOn());
    return subscription.wanted(set, isKeeping);
  }

  #hasMovedOn(): boolean {
    return [typeUrls.listener, typeUrls.route].every((typeUrl) => {
      const subscription = this.#subscriptions.get(typeUrl);
      const set = this.#setOf(typeUrl);
      return (
        subscription === undefined || set === undefined || subscription.hasAccepted(subscription.wanted(set))
      );
    });
  }
}
