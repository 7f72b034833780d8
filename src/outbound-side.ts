import type { Socket } from "node:net";
import type { SideOptions } from "./inbound-side.js";
import { Connections } from "./proxy/connections.js";
import type { Port } from "./proxy/listener.js";
import { outbound } from "./proxy/outbound.js";
import { outboundTcp } from "./proxy/tcp.js";
import { TcpConnections } from "./proxy/tcp-connections.js";
import { qualifiedService } from "./qualified-service.js";

const loopback = "127.0.0.1";

/** The local application's ways into the mesh: a port per upstream, and one that routes by Host. */
export class OutboundSide {
  readonly #options: SideOptions & { readonly nodeId: string };
  readonly #connections: Connections[] = [];
  readonly #tunnels: TcpConnections;
  readonly #listeners: Port[] = [];
  readonly #upstreams = new Map<string, Port>();
  #byHost: Port | undefined;

  constructor(options: SideOptions & { readonly nodeId: string }) {
    this.#options = options;
    this.#tunnels = new TcpConnections(options.clock);
  }

  /** Key: the service as the bootstrap named it. */
  get upstreamPorts(): ReadonlyMap<string, number> {
    return new Map([...this.#upstreams].map(([service, { port }]) => [service, port]));
  }

  /** undefined: there is no host-routed port. */
  get port(): number | undefined {
    return this.#byHost?.port;
  }

  /** Throws ConfigError when a port cannot be bound. */
  async open(): Promise<void> {
    const { upstreams, outboundPort, namespace } = this.#options.bootstrap;
    for (const { service, port } of upstreams) {
      this.#upstreams.set(
        service,
        await this.#listen("--upstream", port, qualifiedService(service, namespace)),
      );
    }
    if (outboundPort !== undefined) this.#byHost = await this.#listen("--outbound", outboundPort, undefined);
  }

  close(): void {
    // Not from the map: a service may have several ports.
    for (const listener of this.#listeners) listener.close();
    for (const connections of this.#connections) connections.destroy();
    this.#tunnels.destroy();
  }

  async #listen(flag: string, port: number, service: string | undefined): Promise<Port> {
    const { plane, telemetry, listen, clock, wheel, nodeId, memory } = this.#options;
    const connections = new Connections({
      service: outbound({
        plane,
        node: nodeId,
        observe: telemetry.observeOutbound(),
        wheel,
        service,
        memory,
        expired: telemetry.expired("outbound"),
      }),
      clock,
      wheel,
      listener: telemetry.outboundListener,
      onRefused: (error) => telemetry.errorCounter("outbound", error.code).value++,
      onLimit: telemetry.limitMeter("downstream"),
    });
    this.#connections.push(connections);
    const addTunnel = service === undefined ? undefined : this.#tunnelsTo(service);
    const listener = await listen({
      flag,
      address: loopback,
      port,
      onSocket: (socket) => {
        if (addTunnel?.(socket) !== true) connections.add(socket, undefined);
      },
    });
    this.#listeners.push(listener);
    return listener;
  }

  /** Takes a connection over if the service is known to speak raw TCP: at once, since then the server may speak first. */
  #tunnelsTo(service: string): (socket: Socket) => boolean {
    const { plane, telemetry } = this.#options;
    const tunnel = outboundTcp(plane, service, telemetry.observeOutboundTcp(service));
    return (socket) => {
      if (plane.tunnelTo(service) === undefined) return false;
      this.#tunnels.add(socket, undefined, tunnel);
      return true;
    };
  }
}
