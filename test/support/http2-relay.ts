/** An HTTP/2 hop without configuration: client -> server connection -> client connection -> upstream, on real sockets. */
import net, { type AddressInfo } from "node:net";
import type { Test } from "tap";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { Http2ClientConnection } from "../../src/http2/client-connection.js";
import { http2Limits, type Http2Limit, type Http2Limits } from "../../src/http2/limits.js";
import { Http2ServerConnection } from "../../src/http2/server-connection.js";
import type { RequestContext } from "../../src/stack/request-context.js";
import type { ServerTimeouts } from "../../src/stack/server-timeouts.js";
import type { Call, Reply, Service } from "../../src/stack/service.js";
import { systemClock } from "../../src/time/clock.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import type { LocalReply } from "../../src/traffic/message.js";
import { checkedReply } from "./checked-reply.js";

export interface RelayOptions {
  readonly upstreamPort: number;
  readonly limits?: Partial<Http2Limits>;
  readonly timeouts?: Partial<ServerTimeouts>;
  /** Its clients are sidecars. */
  readonly isMesh?: boolean;
  /** Default: plain TCP to the upstream's port. */
  readonly dial?: (port: number) => net.Socket;
  /** In place of the upstream. */
  readonly service?: Service;
}

const calm: ServerTimeouts = { headMs: 5000, idleMs: 5000, streamIdleMs: 8000, lingerMs: 300 };

export class Http2Relay {
  readonly wheel = new TimerWheel(systemClock);
  readonly limits: Http2Limit[] = [];
  readonly errors: ProxyError[] = [];
  readonly requests: RequestContext[] = [];
  readonly calls = { active: 0, total: 0, breaches: [] as string[] };
  readonly servers: Http2ServerConnection[] = [];
  readonly clients: Http2ClientConnection[] = [];
  closed = 0;
  closedClients = 0;
  readonly options: RelayOptions;
  #server: net.Server | undefined;
  port = 0;

  private constructor(options: RelayOptions) {
    this.options = options;
  }

  static async open(t: Test, options: RelayOptions): Promise<Http2Relay> {
    const relay = new Http2Relay(options);
    const server = net.createServer((socket) => relay.take(socket));
    relay.#server = server;
    await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
    relay.port = (server.address() as AddressInfo).port;
    t.teardown(() => {
      relay.close();
      if (relay.calls.breaches.length > 0)
        throw new Error(`contract of Reply broken: ${relay.calls.breaches.join("; ")}`);
    });
    return relay;
  }

  close(): void {
    this.#server?.close();
    for (const connection of this.servers) connection.destroy();
    for (const connection of this.clients) connection.destroy(new ProxyError("client_gone", "test is over"));
  }

  take(socket: net.Socket, received?: Buffer): Http2ServerConnection {
    const options = {
      service: { call: (request: RequestContext, reply: Reply) => this.#call(request, reply) },
      clock: systemClock,
      wheel: this.wheel,
      limits: { ...http2Limits, ...this.options.limits },
      timeouts: { ...calm, ...this.options.timeouts },
      peerId: undefined,
      isMesh: this.options.isMesh ?? false,
      refuse: refusal,
      onLimit: (limit: Http2Limit) => void this.limits.push(limit),
      onClose: () => void this.closed++,
    };
    const connection = new Http2ServerConnection(socket, options, received);
    this.servers.push(connection);
    return connection;
  }

  /** A connection to the upstream that takes one more request. */
  client(): Http2ClientConnection {
    const free = this.clients.find((connection) => connection.canSend);
    if (free !== undefined) return free;
    const { upstreamPort, dial = plain } = this.options;
    const socket = dial(upstreamPort);
    const connection = new Http2ClientConnection(socket, {
      peer: "upstream",
      limits: { ...http2Limits, ...this.options.limits },
      clock: systemClock,
      wheel: this.wheel,
      isMesh: false,
      onLimit: (limit) => void this.limits.push(limit),
      owner: {
        connectionFree: () => {},
        connectionDraining: () => {},
        connectionClosed: () => void this.closedClients++,
      },
    });
    this.clients.push(connection);
    return connection;
  }

  #call(request: RequestContext, reply: Reply): Call {
    this.calls.total++;
    this.calls.active++;
    this.requests.push(request);
    const checked = this.#checked(request.head.target, reply);
    if (this.options.service !== undefined) return this.options.service.call(request, checked);
    return this.client().send(request, checked);
  }

  #checked(name: string, reply: Reply): Reply {
    return checkedReply(name, reply, this.calls.breaches, (error, wasStarted) => {
      this.calls.active--;
      if (error !== null) this.errors.push(error);
      if (error === null || wasStarted || error.row.status === 0) return reply.end(error);
      const local = refusal(error);
      reply.head(local.head, null);
      reply.end(null);
    });
  }
}

const plain = (port: number): net.Socket => net.connect({ port, host: "127.0.0.1", noDelay: true });

export function refusal(error: ProxyError): LocalReply {
  const headers = ["x-remora-error", error.code, "content-type", "text/plain"];
  return {
    head: { status: error.row.status || 400, reason: "", version: "2", headers },
    body: Buffer.from(error.message),
  };
}
