import { Client, ServerCredentials, Server, credentials } from "@grpc/grpc-js";
import type { ClientDuplexStream } from "@grpc/grpc-js";
import { createAdsService } from "../../control-plane/xds/ads-server.js";
import type { AdsService, AdsServiceOptions } from "../../control-plane/xds/ads-server.js";
import type { Snapshot } from "../../src/config/snapshot.js";
import { encodeNode } from "../../src/discovery/node.js";
import type { SidecarNode } from "../../src/discovery/node.js";
import { aggregatedDiscoveryService } from "../../src/discovery/wire.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import { systemClock } from "../../src/time/clock.js";

export const exampleNode: SidecarNode = {
  id: "web-1",
  service: "web",
  namespace: "default",
  protocol: "http",
  upstreams: ["api.default"],
  zone: "a",
};

/** A real ADS server on loopback, without TLS. */
export interface AdsHarness {
  readonly service: AdsService;
  readonly port: number;
  /** What every node gets. */
  readonly snapshot: LatestValue<Snapshot | undefined>;
  /** Type URLs of the responses sent, oldest first. */
  readonly pushed: string[];
  readonly logged: string[];
  close(): void;
}

export async function startAds(
  initial: Snapshot | undefined,
  options: Partial<AdsServiceOptions> & { readonly port?: number } = {},
): Promise<AdsHarness> {
  const snapshot = new LatestValue(initial);
  const pushed: string[] = [];
  const logged: string[] = [];
  const service = createAdsService({
    snapshotFor: () => snapshot.get(),
    changes: (listener) => snapshot.watch(listener),
    authorize: () => undefined,
    clock: systemClock,
    log: (level, message) => void logged.push(`${level} ${message}`),
    onPush: (typeUrl) => void pushed.push(typeUrl),
    ...options,
  });
  const server = new Server();
  server.addService(service.definition, service.implementation);
  const port = await new Promise<number>((resolve, reject) => {
    const address = `127.0.0.1:${options.port ?? 0}`;
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  const close = (): void => {
    service.close();
    server.forceShutdown();
  };
  return { service, port, snapshot, pushed, logged, close };
}

/** A gRPC client that shares no connection with another. */
export function adsChannel(port: number): Client {
  return new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 100,
    "grpc.max_receive_message_length": 64 * 1024 * 1024,
  });
}

export interface RawResponse {
  readonly versionInfo: string;
  readonly typeUrl: string;
  readonly nonce: string;
  readonly resources: readonly { readonly type_url: string; readonly value: Buffer }[];
}

/** A client that answers only what the test makes it answer. */
export interface RawAds {
  readonly call: ClientDuplexStream<object, object>;
  readonly responses: RawResponse[];
  /** Set when the stream has ended with a status other than OK. */
  readonly failure: () => Error | undefined;
  send(request: object): void;
  close(): void;
}

/** Opens a stream; the first request carries the node. */
export function openRawAds(port: number, node: object = encodeNode(exampleNode)): RawAds {
  const client = adsChannel(port);
  const method = aggregatedDiscoveryService["StreamAggregatedResources"];
  if (method === undefined) throw new Error("no method");
  const call = client.makeBidiStreamRequest(method.path, method.requestSerialize, method.responseDeserialize);
  const responses: RawResponse[] = [];
  let failure: Error | undefined;
  let isFirst = true;
  call.on("data", (response: RawResponse) => responses.push(response));
  call.on("error", (error: Error) => (failure = error));
  return {
    call,
    responses,
    failure: () => failure,
    send(request) {
      call.write(isFirst ? { ...request, node } : request);
      isFirst = false;
    },
    close() {
      call.cancel();
      client.close();
    },
  };
}
