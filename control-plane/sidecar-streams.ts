import { isIP } from "node:net";
import type { SpiffeId } from "../certs/spiffe-id.js";
import { typeUrls } from "../src/discovery/resource.js";
import type { Clock } from "../src/time/clock.js";
import type { TrustPublisher } from "./ca/trust-source.js";
import type { SidecarView } from "./admin/views.js";
import { MeshCompiler } from "./compiler/compile.js";
import type { MeshModel } from "./compiler/mesh-model.js";
import type { MeshSource } from "./compiler/mesh-source.js";
import type { MeshNode } from "./compiler/node.js";
import type { PeerOf } from "./peer.js";
import type { Logger } from "./telemetry/log.js";
import type { ControlPlaneMetrics } from "./telemetry/metrics.js";
import { createAdsService, type AdsCall, type AdsService, type SidecarSession } from "./xds/ads-server.js";

export interface SidecarStreamsOptions {
  readonly source: MeshSource;
  readonly trust: Pick<TrustPublisher, "trust" | "resources">;
  readonly peerOf: PeerOf;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<ControlPlaneMetrics, "xdsPushes" | "xdsRejects">;
}

/** The config streams of all sidecars. */
export interface SidecarStreams {
  readonly ads: AdsService;
  readonly views: () => readonly SidecarView[];
}

/** Serves each sidecar the snapshot that the newest model gives for what its certificate says it is. */
export function openSidecarStreams(options: SidecarStreamsOptions): SidecarStreams {
  const { source, trust, peerOf, clock, log, metrics } = options;
  /** The certificate, by address:port of the connection. */
  const certificates = new Map<string, PeerCertificate & { readonly streams: number }>();
  const ads = createAdsService({
    snapshotFor: snapshots(source),
    trust: () => trust.resources(),
    changes: (listener) => {
      const stops = [source.model.watch(listener), trust.trust.watch(listener)];
      return () => stops.forEach((stop) => stop());
    },
    authorize: (call, node) => {
      const peer = peerOf(call);
      const {
        certificateNotBeforeMs: notBeforeMs,
        certificateNotAfterMs: notAfterMs,
        certificateSerial: serial,
        certificateIssuer: issuer,
      } = peer;
      if (notBeforeMs !== undefined && notAfterMs !== undefined && serial !== undefined)
        remember(certificates, call, { notBeforeMs, notAfterMs, serial, issuer });
      return mayBe(node, peer.identity, source.mesh.datacenter);
    },
    clock,
    log: (level, message, fields) => log[level](fields ?? {}, message),
    onPush: (typeUrl) => metrics.xdsPushes.inc({ type: shortType(typeUrl) }),
    onRefusal: (typeUrl) => metrics.xdsRejects.inc({ type: shortType(typeUrl) }),
  });
  return { ads, views: () => ads.sessions().map((session) => viewSession(session, certificates)) };
}

/** What all nodes of one model share is compiled once. */
function snapshots(
  source: MeshSource,
): (node: MeshNode) => ReturnType<MeshCompiler["snapshotFor"]> | undefined {
  let known: { readonly model: MeshModel; readonly compiler: MeshCompiler } | undefined;
  return (node) => {
    const model = source.model.get();
    if (model === undefined) return undefined;
    if (known?.model !== model) known = { model, compiler: new MeshCompiler(model) };
    return known.compiler.snapshotFor(node);
  };
}

/** A sidecar may only ask for what its certificate is: else it would learn the routes and endpoints of others. */
function mayBe(
  node: MeshNode,
  identity: Pick<SpiffeId, "service" | "namespace" | "datacenter"> | undefined,
  datacenter: string | undefined,
): string | undefined {
  if (identity === undefined) return "a client certificate is needed";
  // Datacenters share Consul's CA; what is registered here is not registered there.
  if (identity.datacenter !== datacenter)
    return `the certificate is of datacenter ${identity.datacenter ?? "none"}, not of ${datacenter ?? "none"}`;
  if (node.service === identity.service && node.namespace === identity.namespace) return undefined;
  const asked = JSON.stringify(`${node.service}.${node.namespace}`.slice(0, 200));
  return `the certificate belongs to ${identity.service}.${identity.namespace}: it cannot be ${asked}`;
}

interface PeerCertificate {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly serial: string;
  readonly issuer: string | undefined;
}

function remember(
  certificates: Map<string, PeerCertificate & { readonly streams: number }>,
  call: AdsCall,
  certificate: PeerCertificate,
): void {
  const peer = call.getPeer();
  const count = (certificates.get(peer)?.streams ?? 0) + 1;
  certificates.set(peer, { ...certificate, streams: count });
  // A connection may have several streams: it keeps its certificate as long as one is left.
  call.once("close", () => {
    const streams = (certificates.get(peer)?.streams ?? 0) - 1;
    if (streams > 0) certificates.set(peer, { ...certificate, streams });
    else certificates.delete(peer);
  });
}

function viewSession(
  session: SidecarSession,
  certificates: ReadonlyMap<string, PeerCertificate>,
): SidecarView {
  const { node, peer, sentVersion, ackedVersion, trustVersion } = session;
  return {
    id: node.id,
    service: node.service,
    namespace: node.namespace,
    address: withBrackets(peer),
    connectedAtMs: session.connectedAtMs,
    state: sentVersion === undefined && session.state === "STALE" ? "NOT SENT" : session.state,
    version: sentVersion ?? null,
    ackedVersion: ackedVersion ?? null,
    trustVersion: trustVersion ?? null,
    nackReason: session.nackReason ?? null,
    lastAckAtMs: session.lastAckAtMs ?? null,
    certificateNotBeforeMs: certificates.get(peer)?.notBeforeMs ?? null,
    certificateNotAfterMs: certificates.get(peer)?.notAfterMs ?? null,
    certificateSerial: certificates.get(peer)?.serial ?? null,
    certificateIssuer: certificates.get(peer)?.issuer ?? null,
    hasRedis: node.hasRedis ?? null,
  };
}

/** grpc-js writes IPv6 peers without brackets. */
function withBrackets(peer: string): string {
  const colon = peer.lastIndexOf(":");
  const host = peer.slice(0, colon);
  return isIP(host) === 6 ? `[${host}]${peer.slice(colon)}` : peer;
}

/** Labels of Istio's pilot_xds_pushes. */
function shortType(typeUrl: string): string {
  switch (typeUrl) {
    case typeUrls.cluster:
      return "cds";
    case typeUrls.endpoint:
      return "eds";
    case typeUrls.listener:
      return "lds";
    case typeUrls.route:
      return "rds";
    case typeUrls.trust:
      return "trust";
    default:
      return "other";
  }
}
