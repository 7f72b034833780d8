/** The HTTP/2 pool and the negotiated one on scripted connections and a fake clock. */
import type { Socket } from "node:net";
import t from "tap";
import { ProxyError } from "../../src/errors/proxy-error.js";
import type { Dialer } from "../../src/pool/dialer.js";
import { Http1Pool } from "../../src/pool/http1-pool.js";
import {
  Http2Pool,
  type Http2PoolOptions,
  type MultiplexedConnection,
  type MultiplexedOwner,
} from "../../src/pool/http2-pool.js";
import { NegotiatedPool } from "../../src/pool/negotiated-pool.js";
import type { EndpointTransport } from "../../src/stack/endpoint.js";
import type { RequestContext } from "../../src/stack/request-context.js";
import type { Call, Reply } from "../../src/stack/service.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { FakeClock } from "../support/fake-clock.js";
import { ScriptedConnection } from "../support/scripted-connection.js";
import { RecordedReply, scriptedRequest } from "../support/scripted-service.js";

const refused = new ProxyError("connect_failed", "scripted");
const unprocessed = new ProxyError("upstream_unprocessed", "scripted");
const gone = new ProxyError("client_gone", "scripted");

/** A connection that the test answers for, oldest stream first. */
class ScriptedMultiplexed implements MultiplexedConnection {
  readonly #owner: MultiplexedOwner;
  readonly replies: Reply[] = [];
  maxStreams = 100;
  state: "open" | "draining" | "closed" = "open";

  constructor(owner: MultiplexedOwner) {
    this.#owner = owner;
  }

  get activeStreams(): number {
    return this.replies.length;
  }

  get canSend(): boolean {
    return this.state === "open" && this.replies.length < this.maxStreams;
  }

  send(_: RequestContext, reply: Reply): Call {
    if (!this.canSend) throw new Error("cannot send now");
    this.replies.push(reply);
    return { cancel: (error) => this.#end(reply, error) };
  }

  respond(): void {
    const reply = this.replies[0];
    reply?.head({ status: 200, reason: "", version: "2", headers: [] }, null);
    if (reply !== undefined) this.#end(reply, null);
  }

  #end(reply: Reply, error: ProxyError | null): void {
    const at = this.replies.indexOf(reply);
    if (at < 0) return;
    this.replies.splice(at, 1);
    this.#owner.connectionFree();
    if (this.state === "draining" && this.replies.length === 0) this.destroy(gone);
    reply.end(error);
  }

  allow(maxStreams: number): void {
    this.maxStreams = maxStreams;
    this.#owner.connectionFree();
  }

  /** As the peer's GOAWAY does. */
  retire(): void {
    if (this.state !== "open") return;
    this.state = "draining";
    this.#owner.connectionDraining();
    if (this.replies.length === 0) this.destroy(gone);
  }

  destroy(error: ProxyError): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.#owner.connectionClosed();
    for (const reply of this.replies.splice(0)) reply.end(error);
  }
}

interface ScriptedDial {
  /** `alpn`: what the peer chose. */
  connect(alpn?: string): void;
  fail(): void;
  isCancelled: boolean;
}

function scriptedDialer(): { readonly dialer: Dialer; readonly dials: ScriptedDial[] } {
  const dials: ScriptedDial[] = [];
  const dialer: Dialer = {
    dial(onConnected, onFailed) {
      const dial = {
        isCancelled: false,
        connect: (alpn = "h2") => onConnected({ alpnProtocol: alpn } as unknown as Socket),
        fail: () => onFailed(refused),
      };
      dials.push(dial);
      return { cancel: () => (dial.isCancelled = true) };
    },
  };
  return { dialer, dials };
}

function sender(transport: EndpointTransport, clock: FakeClock) {
  return (isFresh = false): { readonly reply: RecordedReply; readonly call: Call } => {
    const request = scriptedRequest({ startMs: clock.monotonicMs() });
    request.needsFreshConnection = isFresh;
    const reply = new RecordedReply();
    return { reply, call: transport.call(request, reply) };
  };
}

function setup(over: Partial<Http2PoolOptions> = {}) {
  const clock = new FakeClock();
  const { dialer, dials } = scriptedDialer();
  const connections: ScriptedMultiplexed[] = [];
  const pool = new Http2Pool({
    name: "test",
    dialer,
    connect: (_, owner) => {
      const connection = new ScriptedMultiplexed(owner);
      connections.push(connection);
      return connection;
    },
    clock,
    wheel: new TimerWheel(clock),
    maxConnections: 4,
    maxPendingRequests: 2,
    maxConcurrentStreams: 100,
    ...over,
  });
  const send = sender(pool, clock);
  const call = (isFresh = false): RecordedReply => send(isFresh).reply;
  const calls = (count: number): RecordedReply[] => Array.from({ length: count }, () => call());
  const connect = (): ScriptedMultiplexed => {
    dials[connections.length]?.connect();
    return connections.at(-1) as ScriptedMultiplexed;
  };
  const load = (): number[] => connections.map(({ activeStreams }) => activeStreams);
  return { clock, pool, dials, connections, send, call, calls, connect, load };
}

t.test("requests share one connection until it is busy, then a few", async (t) => {
  const { dials, connect, calls, load, connections } = setup();
  const first = calls(78);
  t.equal(dials.length, 1, "all wait for the one that is being opened");
  connect();
  t.strictSame(load(), [78]);
  calls(1);
  t.strictSame(load(), [79], "nobody waits while it has room");
  t.equal(dials.length, 2, "and another is opened meanwhile");
  calls(5);
  t.equal(dials.length, 2, "one at a time");
  connect();
  calls(10);
  t.strictSame(load(), [84, 10], "the one with the fewest streams");
  t.equal(dials.length, 2);
  calls(54);
  t.strictSame(load(), [84, 64]);
  calls(1);
  t.equal(dials.length, 3);
  for (let i = 0; i < 84; i++) connections[0]?.respond();
  t.ok(first.every((reply) => reply.outcome === "200"));
  calls(3);
  t.strictSame(load(), [3, 65]);
});

t.test("idle connections: one for long, the others shortly, none for ever", async (t) => {
  const { clock, pool, calls, call, connect, connections } = setup();
  calls(64);
  const first = connect();
  calls(1);
  const second = connect();
  calls(64);
  t.equal(second.activeStreams, 64);
  while (first.activeStreams > 0) first.respond();
  while (second.activeStreams > 0) second.respond();
  for (let i = 0; i < 10; i++) {
    clock.advance(1000);
    call();
    first.respond();
  }
  t.equal(second.state, "closed");
  clock.advance(50_000);
  t.equal(first.state, "open");
  call();
  t.equal(first.activeStreams, 1, "used again");
  first.respond();
  clock.advance(66_000);
  t.equal(first.state, "closed");
  t.equal(pool.connectionCount, 0);
  t.equal(connections.length, 2);
  t.equal(clock.pendingTimers, 0, "no timer without a connection");
});

t.test("requests that find no room wait within bounds", async (t) => {
  const { dials, connect, calls, call, load } = setup({ maxConnections: 1, maxConcurrentStreams: 3 });
  const first = calls(6);
  t.strictSame(
    first.map((reply) => reply.outcome),
    ["pending", "pending", "pending", "pending", "pending", "concurrency_limit"],
    "three will fit on the connection, two wait",
  );
  t.match(first[5]?.error?.detail, "2 requests waiting");
  const connection = connect();
  t.strictSame(load(), [3], "our own limit");
  t.equal(call().outcome, "concurrency_limit");
  connection.respond();
  t.strictSame(load(), [3], "the next one takes the place");
  t.equal(call().outcome, "pending");
  t.equal(dials.length, 1);
});

t.test("a connection carries so many requests in its life, and ends with the last of them", async (t) => {
  const { pool, dials, connect, connections, call, calls, load } = setup({
    maxConnections: 2,
    maxRequestsPerConnection: 3,
  });
  const waiting = calls(5);
  t.equal(dials.length, 2, "one alone would not take them");
  const first = connect();
  t.strictSame([load(), first.state], [[3], "draining"]);
  const second = connect();
  t.strictSame(load(), [3, 2]);
  const next = call();
  t.strictSame([load(), second.state], [[3, 3], "draining"]);
  for (let n = 0; n < 3; n++) {
    t.not(first.state, "closed", "while any is under way");
    first.respond();
  }
  t.equal(first.state, "closed");
  const late = call();
  t.equal(dials.length, 3, "those under way keep no place");
  for (let n = 0; n < 3; n++) second.respond();
  connect();
  connections[2]?.respond();
  t.ok([...waiting, next, late].every((reply) => reply.outcome === "200"));
  t.equal(pool.connectionCount, 1);
});

t.test("the peer's limit holds, and may change", async (t) => {
  const { connect, call, calls, load } = setup({ maxConnections: 1 });
  call();
  const connection = connect();
  connection.allow(0);
  const replies = calls(2);
  t.strictSame(load(), [1]);
  connection.respond();
  t.strictSame(load(), [0], "none allowed");
  connection.allow(1);
  t.strictSame(load(), [1]);
  connection.respond();
  connection.respond();
  t.strictSame(
    replies.map((reply) => reply.outcome),
    ["200", "200"],
  );
});

t.test("a failed dial", async (t) => {
  await t.test("ends all that waited for it: they had this one attempt in common", async (t) => {
    const { dials, calls, call, connections, send } = setup();
    const cancelled = send();
    cancelled.call.cancel(gone);
    const replies = calls(3);
    dials[0]?.fail();
    t.strictSame(
      [cancelled.reply, ...replies].map((reply) => reply.outcome),
      ["client_gone", "connect_failed", "connect_failed", "connect_failed"],
    );
    const next = call();
    t.equal(dials.length, 2, "the next request tries anew");
    dials[1]?.connect();
    connections[0]?.respond();
    t.equal(next.outcome, "200");
  });
  await t.test("costs nobody anything while another connection serves", async (t) => {
    const { clock, dials, connect, call, calls, load } = setup({ maxConcurrentStreams: 17 });
    calls(17);
    const connection = connect();
    const waiting = call();
    t.equal(dials.length, 2);
    dials[1]?.fail();
    t.equal(waiting.outcome, "pending");
    connection.respond();
    t.strictSame(load(), [17]);
    t.equal(dials.length, 2, "a pause first");
    clock.advance(1000);
    call();
    t.equal(dials.length, 3);
  });
  await t.test("while the connections there are take none: an error, no endless wait", async (t) => {
    const { dials, connect, call } = setup();
    call();
    const connection = connect();
    connection.respond();
    connection.allow(0);
    const waiting = call();
    dials[1]?.fail();
    t.equal(waiting.outcome, "connect_failed");
  });
});

t.test("a connection that is told to go takes no new requests", async (t) => {
  const { pool, dials, connect, call, load } = setup({ maxConnections: 1 });
  const under = call();
  const old = connect();
  old.retire();
  const next = call();
  t.equal(dials.length, 2, "it does not count any more");
  connect();
  t.strictSame(load(), [1, 1]);
  old.respond();
  t.equal(under.outcome, "200");
  t.equal(old.state, "closed");
  t.equal(pool.connectionCount, 1);
  t.equal(next.outcome, "pending");
});

t.test("requests that wait get a new connection when theirs goes", async (t) => {
  for (const how of ["retire", "destroy"] as const) {
    const { dials, connect, calls, load } = setup({ maxConnections: 1, maxConcurrentStreams: 1 });
    const [one, two] = calls(2);
    const connection = connect();
    t.equal(dials.length, 1);
    if (how === "retire") connection.retire();
    else connection.destroy(unprocessed);
    t.equal(dials.length, 2, how);
    connect();
    t.equal(load().at(-1), 1);
    t.equal(one?.outcome, how === "retire" ? "pending" : "upstream_unprocessed");
    t.equal(two?.outcome, "pending");
  }
});

t.test("a request that needs a fresh connection", async (t) => {
  await t.test("waits for one that was opened since", async (t) => {
    const { clock, dials, connect, call, load } = setup();
    call();
    connect();
    clock.advance(10);
    const fresh = call(true);
    t.strictSame(load(), [1]);
    t.equal(dials.length, 2);
    call();
    t.strictSame(load(), [2], "others do not wait");
    connect();
    t.strictSame(load(), [2, 1]);
    t.equal(fresh.outcome, "pending");
  });
  await t.test("takes the old one when there can be no other", async (t) => {
    const { clock, connect, call, load } = setup({ maxConnections: 1 });
    call();
    connect();
    clock.advance(10);
    call(true);
    t.strictSame(load(), [2]);
  });
  await t.test("or when no other could be opened", async (t) => {
    const { clock, dials, connect, call, load } = setup();
    call();
    connect();
    clock.advance(10);
    call(true);
    dials[1]?.fail();
    t.strictSame(load(), [2]);
  });
});

t.test("retire and close", async (t) => {
  await t.test("retired: what is under way finishes, and retries are still served", async (t) => {
    const { pool, connect, call, connections } = setup();
    const one = call();
    const busy = connect();
    pool.retire();
    t.equal(busy.state, "draining");
    const retry = call();
    connect();
    busy.respond();
    connections[1]?.respond();
    t.strictSame([one.outcome, retry.outcome], ["200", "200"]);
    t.strictSame(
      connections.map(({ state }) => state),
      ["closed", "closed"],
    );
    t.equal(pool.connectionCount, 0);
  });
  await t.test("closed: everything ends, nothing begins", async (t) => {
    const { clock, pool, dials, connect, call } = setup({ maxConcurrentStreams: 1 });
    const one = call();
    connect();
    const two = call();
    pool.close();
    t.strictSame([one.outcome, two.outcome], ["upstream_closed", "upstream_unprocessed"]);
    t.ok(dials[1]?.isCancelled);
    t.equal(call().outcome, "upstream_unprocessed");
    t.equal(dials.length, 2);
    t.equal(clock.pendingTimers, 0);
  });
});

function negotiated() {
  const clock = new FakeClock();
  const wheel = new TimerWheel(clock);
  const { dialer, dials } = scriptedDialer();
  const http1: ScriptedConnection[] = [];
  const http2: ScriptedMultiplexed[] = [];
  const limits = { name: "test", clock, wheel, maxConnections: 4, maxPendingRequests: 8 };
  const pool = new NegotiatedPool({
    dialer,
    http1: (watched) =>
      new Http1Pool({
        ...limits,
        dialer: watched,
        poolIdleMs: 3000,
        connect: (_, owner) => {
          const connection = new ScriptedConnection(owner);
          http1.push(connection);
          return connection;
        },
      }),
    http2: (watched) =>
      new Http2Pool({
        ...limits,
        dialer: watched,
        maxConcurrentStreams: 100,
        connect: (_, owner) => {
          const connection = new ScriptedMultiplexed(owner);
          http2.push(connection);
          return connection;
        },
      }),
  });
  const send = sender(pool, clock);
  return { clock, pool, dials, http1, http2, call: () => send().reply };
}

t.test("the peer chooses the protocol", async (t) => {
  await t.test("HTTP/2", async (t) => {
    const { dials, http1, http2, call } = negotiated();
    const replies = [call(), call(), call()];
    t.equal(dials.length, 1);
    dials[0]?.connect("h2");
    t.strictSame([http1.length, http2.length], [0, 1]);
    for (let i = 0; i < 3; i++) http2[0]?.respond();
    t.ok(replies.every((reply) => reply.outcome === "200"));
  });
  for (const alpn of ["http/1.1", ""]) {
    await t.test(alpn === "" ? "nothing" : alpn, async (t) => {
      const { dials, http1, http2, call } = negotiated();
      const replies = [call(), call(), call()];
      dials[0]?.connect(alpn);
      t.equal(dials.length, 3, "each of the others gets a dial of its own");
      dials[1]?.connect(alpn);
      dials[2]?.connect(alpn);
      t.strictSame([http1.length, http2.length], [3, 0]);
      for (const connection of http1) connection.respond();
      t.ok(replies.every((reply) => reply.outcome === "200"));
      const next = call();
      t.equal(dials.length, 3, "and its connections are used again");
      http1.at(-1)?.respond();
      t.equal(next.outcome, "200");
    });
  }
});

t.test("the peer changes the protocol, and no request is lost", async (t) => {
  const { pool, dials, http1, http2, call } = negotiated();
  const first = [call(), call()];
  dials[0]?.connect("http/1.1");
  dials[1]?.connect("http/1.1");
  const upgraded = [call(), call()];
  t.equal(dials.length, 4);
  dials[2]?.connect("h2");
  t.ok(dials[3]?.isCancelled);
  t.equal(http2[0]?.activeStreams, 2, "whoever waited");
  for (const connection of http1) connection.respond();
  t.ok(
    first.every((reply) => reply.outcome === "200"),
    "under way on the old ones",
  );
  upgraded.push(call());
  t.equal(http2[0]?.activeStreams, 3);
  http2[0]?.retire();
  const downgraded = [call(), call()];
  dials.at(-1)?.connect("http/1.1");
  dials.at(-1)?.connect("http/1.1");
  for (let i = 0; i < 3; i++) http2[0]?.respond();
  for (const connection of http1) connection.respond();
  t.ok([...upgraded, ...downgraded].every((reply) => reply.outcome === "200"));
  pool.retire();
  t.equal(pool.connectionCount, 0);
  const late = call();
  dials.at(-1)?.connect("h2");
  http2.at(-1)?.respond();
  t.equal(late.outcome, "200", "retries are served by a retired pool, whatever the peer chooses");
  t.equal(pool.connectionCount, 0);
  pool.close();
  t.equal(call().outcome, "upstream_unprocessed");
});
