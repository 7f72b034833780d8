import { messageOf } from "../errors/message-of.js";
import type { Client } from "@grpc/grpc-js";
import type { Bootstrap } from "../config/bootstrap.js";
import type { LatestValue } from "../lifecycle/latest-value.js";
import type { Clock } from "../time/clock.js";
import { startAppProbe } from "./app-probe.js";

export interface AnnouncerOptions {
  readonly bootstrap: Bootstrap;
  readonly nodeId: string;
  readonly inboundPort: number;
  /** The control plane, for its embedded registry. */
  readonly client: LatestValue<Client | undefined>;
  readonly clock: Clock;
  readonly log: (message: string) => void;
}

/** This instance's entry in the registry, whichever it is. */
export interface Announcement {
  /** Takes the instance out; idempotent, never rejects. */
  withdraw(): Promise<void>;
}

const probe = { intervalMs: 2000, timeoutMs: 1000, failures: 2 };

/**
 * Tells the registry that the application is there. Throws ConfigError when the registry refuses.
 */
export async function announce(options: AnnouncerOptions): Promise<Announcement> {
  switch (options.bootstrap.registration.kind) {
    case "none":
      return { withdraw: () => Promise.resolve() };
    case "embedded":
      return announceEmbedded(options);
    case "consul":
      return announceConsul(options);
  }
}

async function announceEmbedded({
  bootstrap,
  nodeId,
  inboundPort,
  client,
  clock,
  log,
}: AnnouncerOptions): Promise<Announcement> {
  const { registerEmbedded } = await import("./embedded.js");
  const registration = registerEmbedded({
    client,
    clock,
    onProblem: log,
    instance: {
      id: nodeId,
      service: bootstrap.service,
      namespace: bootstrap.namespace,
      address: bootstrap.advertiseAddress,
      meshPort: inboundPort,
      appPort: bootstrap.appPort,
      protocol: bootstrap.protocol,
      weight: 1,
      zone: bootstrap.zone,
      meta: Object.entries(bootstrap.meta).map(([name, value]) => ({ name, value })),
    },
  });
  const appProbe = startAppProbe({
    ...probe,
    address: bootstrap.appAddress,
    port: bootstrap.appPort,
    clock,
    onChange: (isUp) => registration.setStatus(isUp ? "passing" : "critical"),
  });
  return {
    async withdraw() {
      appProbe.close();
      await registration.close();
    },
  };
}

async function announceConsul({
  bootstrap,
  nodeId,
  inboundPort,
  clock,
  log,
}: AnnouncerOptions): Promise<Announcement> {
  const { registration: consul, service, appPort, appAddress, advertiseAddress, protocol, zone } = bootstrap;
  if (consul.kind !== "consul") throw new Error("not registered with Consul");
  const { registerWithConsul } = await import("./consul-agent.js");
  const registration = await registerWithConsul({
    url: consul.url,
    token: consul.token,
    caFile: consul.caFile,
    inboundPort,
    clock,
    log,
    service: {
      id: nodeId,
      name: service,
      port: appPort,
      address: advertiseAddress,
      appAddress,
      wanAddress: bootstrap.wanAddress,
      meta: { ...bootstrap.meta, protocol, ...(zone === "" ? {} : { zone }) },
      tags: consul.tags,
      checks: consul.checks,
      // It was seen to accept connections: no reason to wait for the first round of checks.
      initialStatus: "passing",
    },
  });
  // HTTP and TCP checks are the agent's; what a TTL check reports, somebody has to look at.
  const appProbe = consul.checks.some(({ kind }) => kind === "ttl")
    ? startAppProbe({
        ...probe,
        address: appAddress,
        port: appPort,
        clock,
        onChange: (isUp) => registration.setTtlStatus(isUp ? "passing" : "critical"),
      })
    : undefined;
  return {
    async withdraw() {
      appProbe?.close();
      await registration.deregister().catch((error: unknown) => log(messageOf(error)));
    },
  };
}
