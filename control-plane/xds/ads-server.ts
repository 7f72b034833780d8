import { messageOf } from "../../src/errors/message-of.js";
import { Metadata, status as grpcStatus } from "@grpc/grpc-js";
import type { ServerDuplexStream, ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js";
import type { Snapshot } from "../../src/config/snapshot.js";
import type { ResourceSet } from "../../src/discovery/resource.js";
import { aggregatedDiscoveryService } from "../../src/discovery/wire.js";
import type { Log } from "../../src/sidecar.js";
import type { Clock } from "../../src/time/clock.js";
import type { MeshNode } from "../compiler/node.js";
import { readNode, readRequest } from "./request.js";
import { XdsSession } from "./session.js";
import type { SyncState } from "./session.js";
import { createSnapshotCache } from "./snapshot-cache.js";
import type { SnapshotCache } from "./snapshot-cache.js";

export type AdsCall = ServerDuplexStream<object, object>;

export interface AdsServiceOptions {
  /** Depends on the node's service, namespace, protocol and upstreams only; undefined while nothing is known yet. */
  readonly snapshotFor: (node: MeshNode) => Snapshot | undefined;
  /** Whom the mesh believes, the same for all; undefined: nobody is told. */
  readonly trust?: () => ResourceSet | undefined;
  /** Tells the listener whenever snapshotFor or trust may give something else. Returns the function that ends that. */
  readonly changes: (listener: () => void) => () => void;
  /** Why this caller may not be this node, or undefined when it may. */
  readonly authorize: (call: AdsCall, node: MeshNode) => string | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** For metrics. */
  readonly onPush?: (typeUrl: string) => void;
  readonly onRefusal?: (typeUrl: string) => void;
  /** Streams at once. Default 10 000. */
  readonly maxSessions?: number;
}

/** One connected sidecar, as `remora status` shows it. */
export interface SidecarSession {
  readonly node: MeshNode;
  /** Unix time. */
  readonly connectedAtMs: number;
  /** address:port. */
  readonly peer: string;
  /** SYNCED: it has accepted the newest. NACK: it has refused it. STALE: neither yet. */
  readonly state: SyncState;
  /** Snapshot.version. */
  readonly sentVersion: string | undefined;
  readonly ackedVersion: string | undefined;
  /** Of the last trust that it has accepted. */
  readonly trustVersion: string | undefined;
  /** With NACK: the sidecar's reason. */
  readonly nackReason: string | undefined;
  /** Unix time. */
  readonly lastAckAtMs: number | undefined;
}

/** The Aggregated Discovery Service, to be added to a gRPC server. */
export interface AdsService {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
  sessions(): readonly SidecarSession[];
  /** Ends every stream; later ones are refused. */
  close(): void;
}

/** A stream that says nothing holds its place for nothing. */
const firstRequestTimeoutMs = 10_000;
/** Sessions brought up to date before other work gets a turn. */
const sweepSize = 64;

export function createAdsService(options: AdsServiceOptions): AdsService {
  const { maxSessions = 10_000 } = options;
  const cache = createSnapshotCache(options.snapshotFor);
  const streams = new Set<Stream>();
  let isClosed = false;
  let isSweeping = false;

  const sweep = (rest: readonly Stream[]): void => {
    for (const stream of rest.slice(0, sweepSize)) stream.update();
    if (rest.length > sweepSize) setImmediate(sweep, rest.slice(sweepSize));
  };
  const stop = options.changes(() => {
    if (isSweeping) return;
    isSweeping = true;
    // Several changes of one turn are one.
    setImmediate(() => {
      isSweeping = false;
      cache.invalidate();
      sweep([...streams]);
    });
  });

  return {
    definition: aggregatedDiscoveryService,
    implementation: {
      StreamAggregatedResources(call: AdsCall) {
        if (isClosed) return refuse(call, grpcStatus.UNAVAILABLE, "the control plane is shutting down");
        if (streams.size >= maxSessions) {
          return refuse(call, grpcStatus.RESOURCE_EXHAUSTED, `${maxSessions} sidecars are connected already`);
        }
        const stream = new Stream(call, options, cache, () => streams.delete(stream));
        streams.add(stream);
      },
    },
    sessions: () => [...streams].flatMap((stream) => stream.view() ?? []),
    close() {
      isClosed = true;
      stop();
      for (const stream of [...streams])
        stream.end(grpcStatus.UNAVAILABLE, "the control plane is shutting down");
    },
  };
}

/** The I/O around one session: at most one response is under way, so a slow reader costs one response of memory. */
class Stream {
  readonly #call: AdsCall;
  readonly #options: AdsServiceOptions;
  readonly #cache: SnapshotCache;
  readonly #onOver: () => void;
  readonly #session = new XdsSession();
  readonly #peer: string;
  readonly #connectedAtMs: number;
  #node: MeshNode | undefined;
  #lastAckAtMs: number | undefined;
  #isWriting = false;
  #isOver = false;

  constructor(call: AdsCall, options: AdsServiceOptions, cache: SnapshotCache, onOver: () => void) {
    this.#call = call;
    this.#options = options;
    this.#cache = cache;
    this.#peer = call.getPeer();
    this.#connectedAtMs = options.clock.wallMs();
    const first = options.clock.timer(firstRequestTimeoutMs, () => {
      if (this.#node === undefined) this.end(grpcStatus.DEADLINE_EXCEEDED, "no request within 10s");
    });
    this.#onOver = () => {
      first.cancel();
      onOver();
    };
    call.on("data", (request: unknown) => this.#receive(request));
    call.on("end", () => this.end(grpcStatus.OK, ""));
    for (const event of ["cancelled", "error", "close"]) call.on(event, () => this.#over());
  }

  view(): SidecarSession | undefined {
    if (this.#node === undefined) return undefined;
    const session = this.#session;
    return {
      node: this.#node,
      connectedAtMs: this.#connectedAtMs,
      peer: this.#peer,
      state: session.state(),
      sentVersion: session.sentVersion,
      ackedVersion: session.ackedVersion,
      trustVersion: session.trustVersion,
      nackReason: session.refusal(),
      lastAckAtMs: this.#lastAckAtMs,
    };
  }

  /** Takes the newest snapshot and sends what the client lacks. */
  update(): void {
    if (this.#isOver || this.#node === undefined) return;
    this.#session.retrust(this.#options.trust?.());
    try {
      const target = this.#cache.get(this.#node);
      if (target !== undefined) this.#session.retarget(target);
    } catch (error) {
      // What it has stays in force.
      this.#log("error", "no configuration can be made for this sidecar", { error: String(error) });
    }
    this.#pump();
  }

  end(code: grpcStatus, details: string): void {
    if (this.#isOver) return;
    if (code === grpcStatus.OK) this.#call.end();
    else refuse(this.#call, code, details);
    this.#over();
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#onOver();
  }

  #receive(request: unknown): void {
    if (this.#isOver) return;
    try {
      const isFirst = this.#node === undefined;
      if (isFirst && !this.#admit(readNode(request))) return;
      const { typeUrl, ...rest } = readRequest(request);
      const verdict = this.#session.receive({ typeUrl, ...rest });
      if (verdict === "accepted") this.#lastAckAtMs = this.#options.clock.wallMs();
      if (verdict === "refused") {
        this.#options.onRefusal?.(typeUrl);
        this.#log("warn", "a sidecar refused its configuration", { typeUrl, reason: rest.refusal });
      }
      if (isFirst) this.update();
      else this.#pump();
    } catch (error) {
      this.end(grpcStatus.INVALID_ARGUMENT, messageOf(error));
    }
  }

  #admit(node: MeshNode): boolean {
    const refusal = this.#options.authorize(this.#call, node);
    if (refusal !== undefined) {
      this.#log("warn", "a sidecar was refused", { node: node.id, service: node.service, reason: refusal });
      this.end(grpcStatus.PERMISSION_DENIED, refusal);
      return false;
    }
    this.#node = node;
    // The client knows at once that it was accepted, also while there is nothing to send.
    this.#call.sendMetadata(new Metadata());
    return true;
  }

  #pump(): void {
    if (this.#isWriting || this.#isOver) return;
    const response = this.#session.next();
    if (response === undefined) return;
    this.#isWriting = true;
    const { typeUrl, version, nonce, resources } = response;
    this.#options.onPush?.(typeUrl);
    const message = {
      typeUrl,
      versionInfo: version,
      nonce,
      resources: resources.map(({ bytes }) => ({ type_url: typeUrl, value: bytes })),
    };
    // Called when HTTP/2 flow control has let it through; what changes meanwhile is seen by the next turn.
    this.#call.write(message, () => {
      this.#isWriting = false;
      this.#pump();
    });
  }

  #log(level: "warn" | "error", message: string, fields: Readonly<Record<string, unknown>>): void {
    this.#options.log(level, message, { peer: this.#peer, node: this.#node?.id, ...fields });
  }
}

/** grpc-js sends the status that its error event carries. */
function refuse(call: AdsCall, code: grpcStatus, details: string): void {
  call.emit("error", { code, details });
}
