/**
 * Many sidecars' streams in one process: `node fleet-part.js PART`, a FleetPart as JSON. Each stream has an identity and a TLS
 * connection of its own, and runs the sidecar's code for the config protocol: subscription, check and assembly of each
 * snapshot, acknowledgement. What is left out is what a sidecar does with a snapshot: sockets and stacks.
 *
 * Prints a FleetLine as JSON whenever all of its sidecars have come to the same new version.
 */
import type { Client } from "@grpc/grpc-js";
import { createAdsClient } from "../../src/discovery/ads-client.js";
import { openControlPlaneChannel } from "../../src/discovery/channel.js";
import type { Svid } from "../../src/identity/svid.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import { registerEmbedded } from "../../src/registration/embedded.js";
import { systemClock as clock } from "../../src/time/clock.js";
import type { FleetLine, FleetPart } from "./fleet.js";
import { openSvidIssuer } from "./svid-issuer.js";

const part = JSON.parse(process.argv[2] ?? "{}") as FleetPart;
const issue = await openSvidIssuer(part.dataDir);
const print = (line: FleetLine): void => console.log(JSON.stringify(line));
/** Before the next one is opened: a control plane accepts only so many handshakes at once. */
const atOnce = 20;

let bytes = 0;
let resources: Record<string, number> = {};
/** Version in force at each sidecar. */
const versions = new Map<number, string>();
let registered = 0;

function applied(index: number, version: string): void {
  if (versions.get(index) === version) return;
  versions.set(index, version);
  const isEverywhere =
    versions.size === part.count && [...versions.values()].every((each) => each === version);
  if (!isEverywhere) return;
  print({ kind: "applied", version, atNs: process.hrtime.bigint().toString(), bytes, resources });
  bytes = 0;
  resources = {};
}

/** Sees every response on its way in. */
function counted(client: Client): Client {
  const makeBidiStreamRequest = (
    path: string,
    serialize: (value: object) => Buffer,
    deserialize: (bytes: Buffer) => object,
  ): unknown =>
    client.makeBidiStreamRequest(path, serialize, (received: Buffer) => {
      const response = deserialize(received) as {
        readonly typeUrl?: string;
        readonly resources?: readonly unknown[];
      };
      const type = response.typeUrl?.split(".").pop() ?? "";
      bytes += received.length;
      resources[type] = (resources[type] ?? 0) + (response.resources?.length ?? 0);
      return response;
    });
  return Object.assign(Object.create(client) as Client, { makeBidiStreamRequest });
}

/** Resolves when the registry, or the first snapshot, has come. */
function open(index: number): Promise<void> {
  const service = `s${index}`;
  const certificates = new LatestValue<Svid | undefined>(issue(service));
  const channel = openControlPlaneChannel({ controlPlane: part.controlPlane, certificates, clock });
  return new Promise((resolve) => {
    if (part.isRegistered) register(index, channel.client, resolve);
    const client = channel.client.get();
    if (!part.isSubscribed || client === undefined) return;
    createAdsClient({
      client: new LatestValue<Client | undefined>(counted(client)),
      clock,
      node: {
        ...{ id: `fleet-${index}`, service, namespace: "default", protocol: "http", zone: "" },
        upstreams: part.upstreams,
      },
      onSnapshot: ({ version }) => {
        applied(index, version);
        if (!part.isRegistered) resolve();
      },
    });
  });
}

function register(index: number, client: LatestValue<Client | undefined>, done: () => void): void {
  const { isRegistered } = registerEmbedded({
    client,
    clock,
    onProblem: (text) => console.error(text),
    instance: {
      ...{ id: `s${index}-1`, service: `s${index}`, namespace: "default", address: "127.0.0.1" },
      ...{ meshPort: 1024 + index, appPort: 0, protocol: "http", weight: 1, zone: "", meta: [] },
    },
  });
  const stop = isRegistered.watch((isThere) => {
    if (!isThere) return;
    stop();
    registered++;
    if (registered === part.count) print({ kind: "registered" });
    done();
  });
}

// The clock's timers do not keep a process alive.
setInterval(() => {}, 2 ** 30);
for (let from = 0; from < part.count; from += atOnce)
  await Promise.all(
    Array.from({ length: Math.min(atOnce, part.count - from) }, (_, i) => open(part.first + from + i)),
  );
