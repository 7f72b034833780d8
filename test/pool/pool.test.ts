/** The HTTP/1 pool on scripted connections and a fake clock; the dialer on real sockets. */
import net, { type AddressInfo, type Socket } from "node:net";
import tls from "node:tls";
import t, { type Test } from "tap";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { Http1ClientConnection } from "../../src/http1/client-connection.js";
import { http1Limits } from "../../src/http1/limits.js";
import { meshDialer, plainDialer, type Dialer } from "../../src/pool/dialer.js";
import { Http1Pool, type PoolOptions } from "../../src/pool/http1-pool.js";
import type { Call } from "../../src/stack/service.js";
import { systemClock } from "../../src/time/clock.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { BufferedBody } from "../../src/traffic/body.js";
import { answer, ByteUpstream } from "../support/byte-upstream.js";
import { FakeClock } from "../support/fake-clock.js";
import { ScriptedConnection } from "../support/scripted-connection.js";
import { RecordedReply, scriptedRequest } from "../support/scripted-service.js";

const refused = new ProxyError("connect_failed", "scripted");
const gone = new ProxyError("client_gone", "scripted");

function setup(over: Partial<PoolOptions> = {}) {
  const clock = new FakeClock();
  const dials: { connect(): ScriptedConnection; fail(): void; isCancelled: boolean }[] = [];
  const connections: ScriptedConnection[] = [];
  const dialer: Dialer = {
    dial(onConnected, onFailed) {
      const dial = {
        isCancelled: false,
        connect: (): ScriptedConnection => {
          onConnected(null as unknown as Socket);
          return connections.at(-1) as ScriptedConnection;
        },
        fail: () => onFailed(refused),
      };
      dials.push(dial);
      return { cancel: () => (dial.isCancelled = true) };
    },
  };
  const pool = new Http1Pool({
    name: "test",
    dialer,
    connect: (_, owner) => {
      const connection = new ScriptedConnection(owner);
      connections.push(connection);
      return connection;
    },
    clock,
    wheel: new TimerWheel(clock),
    maxConnections: 2,
    maxPendingRequests: 2,
    poolIdleMs: 3000,
    ...over,
  });
  const send = (isFresh = false): { readonly reply: RecordedReply; readonly call: Call } => {
    const request = scriptedRequest();
    request.needsFreshConnection = isFresh;
    const reply = new RecordedReply();
    return { reply, call: pool.call(request, reply) };
  };
  const call = (isFresh = false): RecordedReply => send(isFresh).reply;
  return { clock, pool, dials, connections, send, call };
}

t.test("connections are opened as needed, used again last first, and grow old", async (t) => {
  const { clock, pool, dials, connections, call } = setup();
  const [one, two] = [call(), call()];
  t.equal(dials.length, 2);
  const first = dials[0]?.connect();
  const second = dials[1]?.connect();
  first?.respond();
  second?.respond();
  t.strictSame([one.outcome, two.outcome], ["200", "200"]);
  for (let i = 0; i < 5; i++) {
    clock.advance(1000);
    const reply = call();
    t.ok(second?.isBusy, "the one used last");
    second?.respond();
    t.equal(reply.outcome, "200");
  }
  t.ok(first?.isDestroyed, "the other has grown old");
  clock.advance(3100);
  t.ok(second?.isDestroyed);
  t.equal(pool.connectionCount, 0);
  t.equal(connections.length, 2);
  t.equal(clock.pendingTimers, 0, "no timer without an idle connection");
});

t.test("no connection is handed out that its server may be closing", async (t) => {
  for (const [hintMs, waitMs, isReused] of [
    [-1, 2990, true],
    [5000, 2990, true],
    [2500, 1490, true],
    [2500, 1500, false],
    [1000, 0, false],
  ] as const) {
    const { clock, dials, call } = setup();
    call();
    const connection = dials[0]?.connect() as ScriptedConnection;
    connection.keepAliveHintMs = hintMs;
    connection.respond();
    clock.advance(waitMs);
    call();
    t.equal(connection.isBusy, isReused, `hint ${hintMs}, after ${waitMs} ms`);
    t.equal(connection.isDestroyed, !isReused);
    t.equal(dials.length, isReused ? 1 : 2);
  }
});

t.test("requests wait within bounds", async (t) => {
  const { dials, call } = setup();
  call();
  call();
  dials[0]?.connect();
  dials[1]?.connect();
  const [one, two, three] = [call(), call(), call()];
  t.strictSame([one.outcome, two.outcome, three.outcome], ["pending", "pending", "concurrency_limit"]);
  t.match(three.error?.detail, "2 connections busy and 2 requests waiting");
  t.equal(dials.length, 2, "no further dial");
});

t.test("a cancelled wait costs nobody else anything", async (t) => {
  const { dials, send } = setup();
  const [one, two] = [send(), send()];
  one.call.cancel(gone);
  one.call.cancel(gone);
  t.equal(one.reply.outcome, "client_gone");
  dials[0]?.fail();
  t.equal(two.reply.outcome, "pending", "its own dial is still under way");
  dials[1]?.fail();
  t.equal(two.reply.outcome, "connect_failed");
});

t.test("a failed dial ends one request, and the others get theirs", async (t) => {
  const { dials, call } = setup({ maxConnections: 1 });
  const [one, two, three] = [call(), call(), call()];
  dials[0]?.fail();
  t.strictSame([one.outcome, two.outcome, three.outcome], ["connect_failed", "pending", "pending"]);
  t.equal(dials.length, 2);
  dials[1]?.connect().destroy(refused);
  t.strictSame([two.outcome, three.outcome], ["connect_failed", "pending"]);
  dials[2]?.connect().respond();
  t.equal(three.outcome, "200");
});

t.test("who waits gets the connection that is set free", async (t) => {
  const { dials, call } = setup({ maxConnections: 1 });
  const replies = [call(), call(), call()];
  const connection = dials[0]?.connect() as ScriptedConnection;
  for (let done = 1; done <= 3; done++) {
    connection.respond();
    const outcomes = replies.map((reply) => reply.outcome);
    t.strictSame(
      outcomes,
      [1, 2, 3].map((place) => (place <= done ? "200" : "pending")),
    );
  }
  t.equal(dials.length, 1);
});

t.test("a connection carries so many requests in its life, and whoever waits gets the next", async (t) => {
  const { dials, connections, call } = setup({ maxConnections: 1, maxRequestsPerConnection: 2 });
  const replies = [call(), call(), call()];
  const first = dials[0]?.connect();
  first?.respond();
  t.ok(first?.isBusy, "its second one");
  first?.respond();
  t.ok(first?.isDestroyed);
  t.equal(dials.length, 2);
  dials[1]?.connect().respond();
  t.ok(replies.every((reply) => reply.outcome === "200"));
  t.notOk(connections[1]?.isDestroyed, "it has one more");
  const last = call();
  connections[1]?.respond();
  t.equal(last.outcome, "200");
  t.ok(connections[1]?.isDestroyed);
});

t.test("a request that needs a fresh connection gets one", async (t) => {
  await t.test("although another is idle", async (t) => {
    const { dials, call } = setup();
    call();
    const old = dials[0]?.connect();
    old?.respond();
    const reply = call(true);
    t.notOk(old?.isBusy);
    dials[1]?.connect().respond();
    t.equal(reply.outcome, "200");
    t.notOk(old?.isDestroyed, "there is room for both");
  });
  await t.test("also when the pool is full of idle ones", async (t) => {
    const { dials, call } = setup({ maxConnections: 1 });
    call();
    const old = dials[0]?.connect();
    old?.respond();
    const reply = call(true);
    t.ok(old?.isDestroyed);
    dials[1]?.connect().respond();
    t.equal(reply.outcome, "200");
  });
  await t.test("also when the pool is full of busy ones", async (t) => {
    const { dials, call } = setup({ maxConnections: 1 });
    call();
    const old = dials[0]?.connect();
    const fresh = call(true);
    const other = call();
    old?.respond();
    t.ok(old?.isBusy, "who waits for any connection takes the old one");
    old?.respond();
    t.equal(other.outcome, "200");
    t.ok(old?.isDestroyed, "then it makes room");
    dials[1]?.connect().respond();
    t.equal(fresh.outcome, "200");
  });
});

t.test("retire and close", async (t) => {
  await t.test("retired: running requests finish", async (t) => {
    const { pool, dials, call } = setup();
    const one = call();
    call();
    const busy = dials[0]?.connect();
    const idle = dials[1]?.connect();
    idle?.respond();
    pool.retire();
    t.ok(idle?.isDestroyed && busy?.isBusy);
    busy?.respond();
    t.equal(one.outcome, "200");
    t.ok(busy?.isDestroyed);
    t.equal(pool.connectionCount, 0);
  });
  await t.test("closed: everything ends, nothing begins", async (t) => {
    const { clock, pool, dials, call } = setup();
    const replies = [call(), call(), call()];
    dials[0]?.connect();
    pool.close();
    t.strictSame(
      replies.map((reply) => reply.outcome),
      ["upstream_closed", "upstream_unprocessed", "upstream_unprocessed"],
    );
    t.ok(dials[1]?.isCancelled);
    t.equal(call().outcome, "upstream_unprocessed");
    t.equal(dials.length, 2);
    t.equal(clock.pendingTimers, 0);
  });
});

async function dialOnce(dialer: Dialer): Promise<Socket | ProxyError> {
  let isLater = false;
  const outcome = new Promise<Socket | ProxyError>((resolve, reject) => {
    const settle = (value: Socket | ProxyError): void => {
      if (!isLater) reject(new Error("called back at once"));
      resolve(value);
    };
    dialer.dial(settle, settle);
  });
  isLater = true;
  return outcome;
}

async function serve(t: Test, onSocket: (socket: Socket) => void): Promise<number> {
  const server = net.createServer(onSocket);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

t.test("dialing", async (t) => {
  const wheel = new TimerWheel(systemClock);
  const target = (port: number, connectTimeoutMs = 1000) => ({
    address: "127.0.0.1",
    port,
    connectTimeoutMs,
  });
  const outcome = async (dialer: Dialer): Promise<string> => {
    const result = await dialOnce(dialer);
    if (result instanceof ProxyError) return result.code;
    result.on("error", () => {}).destroy();
    return "connected";
  };
  const open: Socket[] = [];
  t.teardown(() => open.forEach((socket) => socket.destroy()));
  const silent = await serve(t, (socket) => {
    socket.on("error", () => {});
    open.push(socket);
  });
  const security = { options: () => ({}), refusal: () => undefined };
  const without = { ...security, options: () => undefined };

  t.equal(await outcome(plainDialer(target(silent), wheel)), "connected");
  t.equal(await outcome(plainDialer(target(1), wheel)), "connect_failed", "refused");
  t.equal(await outcome(plainDialer(target(70_000), wheel)), "connect_failed", "no port at all");
  t.equal(await outcome(meshDialer(target(1), wheel, security)), "connect_failed");
  t.equal(await outcome(meshDialer(target(silent, 30), wheel, security)), "connect_timeout", "silence");
  t.equal(await outcome(meshDialer(target(silent), wheel, without)), "upstream_tls_failed", "no certificate");
  const speaking = await serve(t, (socket) => socket.on("error", () => {}).end("HTTP/1.1 400 No\r\n\r\n"));
  t.equal(await outcome(meshDialer(target(speaking), wheel, security)), "upstream_tls_failed", "not TLS");
  const closing = await serve(t, (socket) => socket.destroy());
  t.match(
    await outcome(meshDialer(target(closing), wheel, security)),
    /^(connect_failed|upstream_tls_failed)$/,
  );

  // TLS without certificates, to look at what comes after the handshake alone.
  const suite = { ciphers: "PSK-AES128-GCM-SHA256", maxVersion: "TLSv1.2" } as const;
  const psk = Buffer.alloc(16);
  const server = tls.createServer({ ...suite, pskCallback: () => psk, pskIdentityHint: "test" });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  const options = (): tls.ConnectionOptions => ({
    ...suite,
    pskCallback: () => ({ psk, identity: "test" }),
    checkServerIdentity: () => undefined,
  });
  const refusing = (refusal: () => string | undefined): Dialer =>
    meshDialer(target((server.address() as AddressInfo).port), wheel, { options, refusal });
  const broken = (): string => {
    throw new Error("scripted");
  };
  t.equal(await outcome(refusing(() => undefined)), "connected");
  t.equal(await outcome(refusing(() => "wrong_identity")), "upstream_identity_mismatch");
  t.equal(await outcome(refusing(broken)), "upstream_identity_mismatch", "a check that throws");

  let calls = 0;
  const count = (): number => calls++;
  plainDialer(target(silent), wheel).dial(count, count).cancel();
  meshDialer(target(silent), wheel, without).dial(count, count).cancel();
  t.equal(await outcome(plainDialer(target(silent), wheel)), "connected");
  t.equal(calls, 0, "a cancelled dial calls nobody");
});

t.test("a head that must not be written costs its request only", async (t) => {
  const upstream = await ByteUpstream.open(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
  const wheel = new TimerWheel(systemClock);
  const pool = new Http1Pool({
    name: "test",
    dialer: plainDialer({ address: "127.0.0.1", port: upstream.port, connectTimeoutMs: 1000 }, wheel),
    connect: (socket, owner) => new Http1ClientConnection(socket, "test", http1Limits, owner),
    clock: systemClock,
    wheel,
    maxConnections: 1,
    maxPendingRequests: 10,
    poolIdleMs: 3000,
  });
  t.teardown(() => pool.close());
  const outcome = (value: string): Promise<string> =>
    new Promise((resolve) => {
      const request = scriptedRequest();
      request.head.headers.push("x", value);
      const reply = new RecordedReply();
      const end = reply.end.bind(reply);
      reply.end = (error) => {
        end(error);
        resolve(reply.outcome);
      };
      pool.call(request, reply);
    });
  const values = ["a", "a\r\nEvil: 1", "\u010a", "b"];
  // All wait for the one connection first, then the same on an idle one.
  const waited = await Promise.all(values.map(outcome));
  t.strictSame(waited, ["200", "internal", "internal", "200"]);
  for (const [i, value] of values.entries()) t.equal(await outcome(value), waited[i]);
  t.equal(upstream.connections.length, 1);
  t.notMatch(upstream.text, /Evil/);
});

t.test("bytes that come before the request was sent do not answer it", async (t) => {
  const upstream = await ByteUpstream.open(t);
  const socket = net.connect(upstream.port, "127.0.0.1");
  t.teardown(() => socket.destroy());
  await upstream.connection(0);
  let closed = 0;
  const connection = new Http1ClientConnection(socket, "test", http1Limits, {
    connectionIdle: () => {},
    connectionClosed: () => closed++,
  });
  const reply = new RecordedReply();
  connection.send(scriptedRequest(), reply);
  socket.emit("data", Buffer.from("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"));
  t.equal(reply.outcome, "upstream_unprocessed");
  t.equal(closed, 1);
  t.equal(upstream.size, 0);
});

t.test("a head and a small body are one write", async (t) => {
  const upstream = await ByteUpstream.open(t, () => {});
  const socket = net.connect(upstream.port, "127.0.0.1");
  t.teardown(() => socket.destroy());
  const peer = await upstream.connection(0);
  const owner = { connectionIdle: () => {}, connectionClosed: () => {} };
  const connection = new Http1ClientConnection(socket, "test", http1Limits, owner);
  let writes = 0;
  const write = socket.write.bind(socket) as (...args: unknown[]) => boolean;
  socket.write = (...args: unknown[]) => {
    writes++;
    return write(...args);
  };
  connection.send(scriptedRequest({ body: new BufferedBody(Buffer.alloc(8000, "x")) }), new RecordedReply());
  await peer.gets("x".repeat(8000));
  t.equal(writes, 1);
});
