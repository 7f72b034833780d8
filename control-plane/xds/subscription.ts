import { setVersion, typeUrls } from "../../src/discovery/resource.js";
import type { ResourceSet, XdsResource } from "../../src/discovery/resource.js";

type Resources = ReadonlyMap<string, XdsResource>;

/** What a client has asked for of one resource type, what it was sent and what it said to that. */
export class Subscription {
  readonly typeUrl: string;
  /** "all": everything there is, without naming it. */
  #names: ReadonlySet<string> | "all";
  /** Of the last response; "" before the first. */
  #nonce: string;
  /** What the client has if it accepts the last response. */
  #sent: { readonly version: string; readonly resources: Resources } | undefined;
  /** What the client is known to have. */
  #acked: Resources = new Map();
  #isAnswered = true;
  #memo: Memo | undefined;
  #refused: { readonly version: string; readonly reason: string } | undefined;

  /** @param nonce that the client holds, from a subscription before this one. */
  constructor(typeUrl: string, names: readonly string[], nonce: string) {
    this.typeUrl = typeUrl;
    this.#nonce = nonce;
    const isAll = names.includes("*") || (names.length === 0 && isWhole(typeUrl));
    this.#names = isAll ? "all" : new Set(names);
  }

  /** The client says by name what it wants. */
  get isNamed(): boolean {
    return this.#names !== "all";
  }

  get nonce(): string {
    return this.#nonce;
  }

  /** Version of the last response, whatever the client makes of it. */
  get sentVersion(): string | undefined {
    return this.#sent?.version;
  }

  /** Why the client does not have `wanted`; undefined when it has, or has not said. */
  refusalOf(wanted: Wanted): string | undefined {
    return this.#refused?.version === wanted.version ? this.#refused.reason : undefined;
  }

  /** The client has said that it has this. */
  hasAccepted(wanted: Wanted): boolean {
    if (!this.#isAnswered || this.refusalOf(wanted) !== undefined) return false;
    if (this.#sent?.version === wanted.version) return true;
    // Something was taken away, or taken back before it was accepted: then there is nothing to send.
    return !isWhole(this.typeUrl) && this.#changed(wanted).length === 0;
  }

  /** What the client should have. With `isKeeping`, also what it has and should no longer have. */
  wanted(set: ResourceSet, isKeeping = false): Wanted {
    const names = this.#names;
    const held = isKeeping ? this.#sent?.resources : undefined;
    const memo = this.#memo;
    // Asked many times per request; the answer takes a hash over everything.
    if (memo?.set === set && memo.names === names && memo.held === held) return memo.wanted;
    const wanted =
      isWithin(set.resources, names) && (held === undefined || isWithin(held, set.resources))
        ? set
        : part(set, names, held);
    this.#memo = { set, names, held, wanted };
    return wanted;
  }

  /**
   * The resources to send so that the client comes to have `wanted`; undefined when nothing is to be sent: it was sent,
   * or it was refused before. What was refused is never sent again.
   */
  pending(wanted: Wanted): readonly XdsResource[] | undefined {
    if (this.#sent?.version === wanted.version || this.refusalOf(wanted) !== undefined) return undefined;
    // Of listeners and clusters, absence from a response is deletion (xDS protocol, "deleting resources").
    if (isWhole(this.typeUrl)) return [...wanted.resources.values()];
    const changed = this.#changed(wanted);
    return changed.length === 0 ? undefined : changed;
  }

  markSent(wanted: Wanted, nonce: string): void {
    this.#sent = wanted;
    this.#nonce = nonce;
    this.#isAnswered = false;
  }

  /** The last response was accepted. */
  accept(): void {
    this.#isAnswered = true;
    this.#acked = this.#sent?.resources ?? new Map();
    this.#refused = undefined;
  }

  /** The last response was refused, or `wanted` cannot be sent at all. */
  refuse(reason: string, wanted = this.#sent): void {
    this.#isAnswered = true;
    if (wanted !== undefined) this.#refused = { version: wanted.version, reason };
  }

  #changed(wanted: Wanted): readonly XdsResource[] {
    return [...wanted.resources.values()].filter(({ name, hash }) => this.#acked.get(name)?.hash !== hash);
  }

  /** The client wants these from now on. */
  rename(names: readonly string[]): void {
    // No names means all only before any name was given (xDS protocol, "wildcard").
    if (names.length === 0 && this.#names === "all") return;
    if (names.includes("*")) {
      this.#names = "all";
      return;
    }
    const wanted = new Set(names);
    this.#names = wanted;
    const keep = (resources: Resources): Resources =>
      new Map([...resources].filter(([name]) => wanted.has(name)));
    this.#acked = keep(this.#acked);
    if (this.#sent === undefined) return;
    const resources = keep(this.#sent.resources);
    this.#sent = { version: setVersion(resources.values()), resources };
  }
}

/** What a client should have of one type. */
export interface Wanted {
  readonly version: string;
  readonly resources: Resources;
}

interface Memo {
  readonly set: ResourceSet;
  readonly names: ReadonlySet<string> | "all";
  readonly held: Resources | undefined;
  readonly wanted: Wanted;
}

/** Whether every name of the resources is among these. */
function isWithin(resources: Resources, names: { has(name: string): boolean } | "all"): boolean {
  if (names !== "all") for (const name of resources.keys()) if (!names.has(name)) return false;
  return true;
}

function part(set: ResourceSet, names: ReadonlySet<string> | "all", held: Resources | undefined): Wanted {
  const resources = new Map([...set.resources].filter(([name]) => names === "all" || names.has(name)));
  for (const [name, each] of held ?? []) if (!resources.has(name)) resources.set(name, each);
  return { version: setVersion(resources.values()), resources };
}

const wholeTypes = new Set<string>([typeUrls.listener, typeUrls.cluster, typeUrls.snapshot, typeUrls.trust]);

/** Types whose responses always carry everything. */
function isWhole(typeUrl: string): boolean {
  return wholeTypes.has(typeUrl);
}
