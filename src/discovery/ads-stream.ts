import type { Client, ClientDuplexStream } from "@grpc/grpc-js";
import type { Snapshot } from "../config/snapshot.js";
import type { MeshTrust } from "../identity/mesh-trust.js";
import type { Clock } from "../time/clock.js";
import { encodeNode } from "./node.js";
import type { SidecarNode } from "./node.js";
import { Subscriptions } from "./subscriptions.js";
import type { DiscoveryRequest } from "./subscriptions.js";
import { aggregatedDiscoveryService } from "./wire.js";

export interface AdsStreamOptions {
  readonly client: Client;
  readonly node: SidecarNode;
  /** Version of the trust in force; "" = none. */
  readonly knownTrust: string;
  readonly clock: Clock;
  /** The control plane has accepted the node. */
  readonly onOpen: () => void;
  /** Returns what is wrong with it, or undefined when it is in force. */
  readonly onSnapshot: (snapshot: Snapshot) => string | undefined;
  /** The same for whom the mesh believes. */
  readonly onTrust: (trust: MeshTrust) => string | undefined;
  /** A response was refused. */
  readonly onRefusal: (reason: string) => void;
  /** Once, unless cancel() was called. */
  readonly onEnd: (reason: string) => void;
}

/** One ADS stream; cancel() ends it without a further callback. */
export interface AdsStream {
  cancel(): void;
}

/** A control plane accepts in one round trip; longer, and a black hole swallows the packets. */
const openTimeoutMs = 10_000;

export function openAdsStream(options: AdsStreamOptions): AdsStream {
  const { client, clock, onOpen, onSnapshot, onTrust, onRefusal, onEnd } = options;
  const method = aggregatedDiscoveryService["StreamAggregatedResources"];
  if (method === undefined) throw new Error("no method StreamAggregatedResources");
  const subscriptions = new Subscriptions(options.knownTrust);
  const call: ClientDuplexStream<object, object> = client.makeBidiStreamRequest(
    method.path,
    method.requestSerialize,
    method.responseDeserialize,
  );

  let isOver = false;
  const end = (reason: string | undefined): void => {
    if (isOver) return;
    isOver = true;
    deadline.cancel();
    call.cancel();
    if (reason !== undefined) onEnd(reason);
  };
  const deadline = clock.timer(openTimeoutMs, () => end(`no answer within ${openTimeoutMs / 1000}s`));

  const send = (requests: readonly DiscoveryRequest[]): void => {
    // At most two per response, so the control plane paces what is buffered here.
    for (const request of requests) if (!isOver) call.write(request);
  };

  call.on("metadata", () => {
    if (isOver) return;
    deadline.cancel();
    onOpen();
  });
  call.on("data", (response: object) => {
    if (isOver) return;
    const step = subscriptions.receive(response);
    send(step.requests);
    if (step.refusal !== undefined) onRefusal(step.refusal);
    if (step.trust !== undefined) {
      const problem = onTrust(step.trust);
      send(subscriptions.settleTrust(problem));
      if (problem !== undefined) onRefusal(problem);
    }
    if (step.candidate === undefined) return;
    const problem = onSnapshot(step.candidate);
    send(subscriptions.settle(problem));
    if (problem !== undefined) onRefusal(problem);
  });
  // Also after the end: an error event without a listener would end the process.
  call.on("error", (error: Error) => end(error.message));
  call.on("end", () => end("closed by the control plane"));

  const [first, ...rest] = subscriptions.start();
  call.write({ ...first, node: encodeNode(options.node) });
  send(rest);
  return { cancel: () => end(undefined) };
}
