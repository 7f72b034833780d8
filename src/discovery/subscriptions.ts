import { messageOf } from "../errors/message-of.js";
import type { Snapshot } from "../config/snapshot.js";
import type { MeshTrust } from "../identity/mesh-trust.js";
import { decodeCluster } from "./cluster-resource.js";
import { decodeEndpoints } from "./endpoint-resource.js";
import { Fields } from "./fields.js";
import { decodeListener } from "./listener-resource.js";
import { resource, typeUrls } from "./resource.js";
import { decodeRoutes } from "./route-resource.js";
import { decodeTrust } from "./trust-resource.js";
import { assembleSnapshot, decodeSnapshotResource, decoded } from "./xds-resources.js";
import type { Decoded, DecodedResources, SnapshotResource } from "./xds-resources.js";

/** envoy.service.discovery.v3.DiscoveryRequest without the node. */
export interface DiscoveryRequest {
  readonly typeUrl: string;
  readonly versionInfo: string;
  readonly responseNonce: string;
  readonly resourceNames: readonly string[];
  readonly errorDetail?: { readonly code: number; readonly message: string };
}

/** What to do about a response. */
export interface Step {
  /** To be sent in this order. */
  readonly requests: readonly DiscoveryRequest[];
  /** A complete snapshot: apply it, then call settle. */
  readonly candidate?: Snapshot;
  /** Put it in force, then call settleTrust. */
  readonly trust?: MeshTrust;
  /** Why the response was refused. */
  readonly refusal?: string;
}

/** State of one resource type: what the control plane is told with every request. */
interface TypeState {
  versionInfo: string;
  nonce: string;
  names: readonly string[];
}

const invalidArgument = 3;
/** Enough for a path and a reason; the text comes back in every status listing. */
const maxReasonLength = 1000;

/**
 * The client's side of one ADS stream, without the I/O: takes responses, says what to answer, and offers a snapshot when
 * all its parts are there. A response is taken whole or not at all, and a snapshot too.
 */
export class Subscriptions {
  readonly #types = new Map<string, TypeState>();
  #listeners: DecodedResources["listeners"] = [];
  #clusters: DecodedResources["clusters"] = [];
  #routes: DecodedResources["routes"] = new Map();
  #endpoints: DecodedResources["endpoints"] = new Map();
  readonly #knownTrust: string;
  /** version_info of the trust that was offered. */
  #trustVersion: string | undefined;
  /** Received, neither accepted nor refused yet. */
  #binding: { readonly resource: SnapshotResource; readonly versionInfo: string } | undefined;

  /** @param knownTrust version of the trust in force, from a stream before or from the disk; "" = none. */
  constructor(knownTrust = "") {
    this.#knownTrust = knownTrust;
  }

  /** The first requests of the stream. */
  start(): DiscoveryRequest[] {
    return [
      this.#subscribe(typeUrls.trust, [], this.#knownTrust),
      ...[typeUrls.cluster, typeUrls.listener, typeUrls.snapshot].map((typeUrl) =>
        this.#subscribe(typeUrl, []),
      ),
    ];
  }

  receive(response: unknown): Step {
    const fields = new Fields(response, "response");
    const typeUrl = fields.string("typeUrl");
    const state = this.#types.get(typeUrl);
    if (state === undefined) return { requests: [] };
    state.nonce = fields.string("nonce");
    const versionInfo = fields.string("versionInfo");
    try {
      if (typeUrl === typeUrls.trust) return this.#offerTrust(fields.anys("resources", typeUrl), versionInfo);
      const follow = this.#take(typeUrl, fields.anys("resources", typeUrl), versionInfo);
      // The snapshot resource is answered when the whole is applied or refused.
      if (typeUrl === typeUrls.snapshot) return this.#offer(follow);
      state.versionInfo = versionInfo;
      return this.#offer([this.#request(typeUrl), ...follow]);
    } catch (error) {
      return this.#refuse(typeUrl, [], messageOf(error));
    }
  }

  /** The candidate was applied (no problem) or could not be. */
  settle(problem: string | undefined): DiscoveryRequest[] {
    const binding = this.#binding;
    if (binding === undefined) return [];
    this.#binding = undefined;
    if (problem !== undefined) return [this.#request(typeUrls.snapshot, problem)];
    const state = this.#types.get(typeUrls.snapshot);
    if (state !== undefined) state.versionInfo = binding.versionInfo;
    return [this.#request(typeUrls.snapshot)];
  }

  /** The trust is in force (no problem) or could not be put there. */
  settleTrust(problem: string | undefined): DiscoveryRequest[] {
    const versionInfo = this.#trustVersion;
    if (versionInfo === undefined) return [];
    this.#trustVersion = undefined;
    const state = this.#types.get(typeUrls.trust);
    if (problem === undefined && state !== undefined) state.versionInfo = versionInfo;
    return [this.#request(typeUrls.trust, problem)];
  }

  #offerTrust([first, ...rest]: readonly Buffer[], versionInfo: string): Step {
    if (first === undefined || rest.length > 0) throw new Error("expected exactly one trust resource");
    const trust = decodeTrust(first);
    this.#trustVersion = versionInfo;
    return { requests: [], trust };
  }

  /** Decodes everything before it keeps anything. Returns the requests for what is referred to now. */
  #take(typeUrl: string, resources: readonly Buffer[], versionInfo: string): DiscoveryRequest[] {
    const parts = resources.map((bytes) => resource("", bytes));
    switch (typeUrl) {
      case typeUrls.listener:
        this.#listeners = unique(parts.map((part) => decoded(part, decodeListener)));
        return this.#follow(
          typeUrls.route,
          this.#listeners.map(({ value }) => value.routeConfigName),
        );
      case typeUrls.cluster:
        this.#clusters = unique(parts.map((part) => decoded(part, decodeCluster)));
        return this.#follow(
          typeUrls.endpoint,
          this.#clusters.map(({ name }) => name),
        );
      case typeUrls.route:
        this.#routes = merged(this.#routes, unique(parts.map((part) => decoded(part, decodeRoutes))));
        break;
      case typeUrls.endpoint:
        this.#endpoints = merged(
          this.#endpoints,
          unique(parts.map((part) => decoded(part, decodeEndpoints))),
        );
        break;
      default: {
        const [first, ...rest] = resources;
        if (first === undefined || rest.length > 0) throw new Error("expected exactly one snapshot resource");
        this.#binding = { resource: decodeSnapshotResource(first), versionInfo };
      }
    }
    this.#forget();
    return [];
  }

  /** Subscribes to exactly these names. */
  #follow(typeUrl: string, names: readonly string[]): DiscoveryRequest[] {
    const sorted = [...new Set(names)].sort();
    const state = this.#types.get(typeUrl);
    if (state === undefined) return sorted.length === 0 ? [] : [this.#subscribe(typeUrl, sorted)];
    const isSame = state.names.length === sorted.length && sorted.every((name, i) => name === state.names[i]);
    if (isSame) return [];
    state.names = sorted;
    this.#forget();
    return [this.#request(typeUrl)];
  }

  #subscribe(typeUrl: string, names: readonly string[], versionInfo = ""): DiscoveryRequest {
    this.#types.set(typeUrl, { versionInfo, nonce: "", names });
    return this.#request(typeUrl);
  }

  #request(typeUrl: string, problem?: string): DiscoveryRequest {
    const { versionInfo, nonce, names } = this.#types.get(typeUrl) ?? {
      versionInfo: "",
      nonce: "",
      names: [],
    };
    const message = problem?.slice(0, maxReasonLength);
    return {
      typeUrl,
      versionInfo,
      responseNonce: nonce,
      resourceNames: names,
      ...(message !== undefined && { errorDetail: { code: invalidArgument, message } }),
    };
  }

  #offer(requests: readonly DiscoveryRequest[]): Step {
    if (this.#binding === undefined) return { requests };
    try {
      const candidate = assembleSnapshot(this.#binding.resource, {
        listeners: this.#listeners,
        routes: this.#routes,
        clusters: this.#clusters,
        endpoints: this.#endpoints,
      });
      return { requests, ...(candidate !== undefined && { candidate }) };
    } catch (error) {
      this.#binding = undefined;
      return this.#refuse(typeUrls.snapshot, requests, messageOf(error));
    }
  }

  #refuse(typeUrl: string, before: readonly DiscoveryRequest[], reason: string): Step {
    return { requests: [...before, this.#request(typeUrl, reason)], refusal: reason };
  }

  /** Drops what is no longer subscribed to, or never was: the control plane cannot fill our memory with names. */
  #forget(): void {
    this.#routes = only(this.#routes, this.#types.get(typeUrls.route)?.names ?? []);
    this.#endpoints = only(this.#endpoints, this.#types.get(typeUrls.endpoint)?.names ?? []);
  }
}

function unique<T>(list: readonly Decoded<T>[]): readonly Decoded<T>[] {
  const names = new Set<string>();
  for (const { name } of list) {
    if (names.has(name)) throw new Error(`${name} comes twice`);
    names.add(name);
  }
  return list;
}

function merged<T>(
  before: ReadonlyMap<string, Decoded<T>>,
  changes: readonly Decoded<T>[],
): ReadonlyMap<string, Decoded<T>> {
  return new Map([...before, ...changes.map((each) => [each.name, each] as const)]);
}

function only<T>(map: ReadonlyMap<string, T>, names: readonly string[]): ReadonlyMap<string, T> {
  const wanted = new Set(names);
  return new Map([...map].filter(([name]) => wanted.has(name)));
}
