/** The word of the called sidecar that its application has accepted, on real TLS connections. */
import tls, { type TLSSocket } from "node:tls";
import type { AddressInfo, Socket } from "node:net";
import t, { type Test } from "tap";
import type { ProxyError } from "../../src/errors/proxy-error.js";
import { clientTlsOptions, serverTlsOptions } from "../../src/identity/tls-options.js";
import { meshDialer } from "../../src/pool/dialer.js";
import { RequestContext } from "../../src/stack/request-context.js";
import { confirmedDialer, confirmedTcp } from "../../src/tcp/confirmed-dialer.js";
import { TcpTransport, type TunnelDialer } from "../../src/tcp/tcp-transport.js";
import { systemClock } from "../../src/time/clock.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { IncomingBody } from "../../src/traffic/incoming-body.js";
import { eventually } from "../support/eventually.js";
import { RawPeer } from "../support/raw-client.js";
import { identityOf } from "../support/sidecar-kit.js";

const [web, api] = await Promise.all([identityOf("web"), identityOf("api")]);
const wheel = new TimerWheel(systemClock);

/** A dialer to a server that does `onSocket` with each connection. */
async function dialerTo(
  t: Test,
  onSocket: (socket: TLSSocket) => void,
  { protocols = [confirmedTcp], timeoutMs = 5000 } = {},
): Promise<TunnelDialer> {
  const server = tls.createServer({ ...serverTlsOptions(api), ALPNProtocols: protocols }, (socket) => {
    socket.on("error", () => undefined);
    t.teardown(() => socket.destroy());
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const dialer = meshDialer({ address: "127.0.0.1", port, connectTimeoutMs: 5000 }, wheel, {
    options: () => ({ ...clientTlsOptions(web), ALPNProtocols: [confirmedTcp, "other"] }),
    refusal: () => undefined,
  });
  return confirmedDialer(dialer, { name: "api", timeoutMs, wheel });
}

interface Dialled {
  readonly peer?: RawPeer;
  readonly error?: ProxyError;
}

function dial(t: Test, dialer: TunnelDialer): Promise<Dialled> {
  return new Promise((resolve) => {
    dialer.dial(
      (socket: Socket) => {
        t.teardown(() => socket.destroy());
        resolve({ peer: new RawPeer(socket) });
      },
      (error) => resolve({ error }),
    );
  });
}

t.test("hands over what follows the confirmation, whether it comes with it or later", async (t) => {
  const together = await dial(t, await dialerTo(t, (socket) => socket.write("\x01220 ready")));
  t.equal(await together.peer?.gets("220 ready"), "220 ready");
  const later = await dial(
    t,
    await dialerTo(t, (socket) => {
      socket.write("\x01");
      socket.once("data", (chunk: Buffer) => socket.end(chunk));
    }),
  );
  later.peer?.write("ping");
  t.equal(await later.peer?.over(), "ping");
});

t.test("a peer that does not know the name has nothing taken off", async (t) => {
  const { peer } = await dial(
    t,
    await dialerTo(t, (socket) => socket.end("\x01plain"), { protocols: ["other"] }),
  );
  t.equal(await peer?.over(), "\x01plain");
});

for (const [what, onSocket, code] of [
  ["an end", (socket) => socket.end(), "connect_failed"],
  ["a close", (socket) => socket.destroy(), "connect_failed"],
  ["another byte", (socket) => socket.write("\x02"), "connect_failed"],
  ["silence", () => undefined, "connect_timeout"],
] as const satisfies readonly (readonly [string, (socket: TLSSocket) => unknown, string])[]) {
  t.test(`${what} in its place is a failed connect`, async (t) => {
    const timeoutMs = what === "silence" ? 50 : 5000;
    const { error } = await dial(t, await dialerTo(t, onSocket, { timeoutMs }));
    t.equal(error?.code, code);
    t.equal(error?.row.retry, "always");
  });
}

t.test("a dial that is given up lets go of the connection, and says nothing any more", async (t) => {
  let accepted: TLSSocket | undefined;
  let isGone = false;
  const dialer = await dialerTo(t, (socket) => {
    accepted = socket;
    socket.on("close", () => (isGone = true)).resume();
  });
  const told: string[] = [];
  const call = dialer.dial(
    () => told.push("connected"),
    () => told.push("failed"),
  );
  await eventually("a connection", () => accepted);
  call.cancel();
  await eventually("its end", () => isGone);
  t.same(told, []);
});

t.test("the transport keeps its limit of connections, and ends its calls when it is closed", async (t) => {
  const dialer = await dialerTo(t, (socket) => socket.write("\x01"));
  const transport = new TcpTransport({ name: "api", dialer, maxConnections: 2 });
  const ends: (string | null)[] = [];
  let opened = 0;
  const call = (): void => {
    const head = {
      method: "CONNECT",
      target: "",
      authority: "",
      version: "1.1",
      headers: [],
      upgrade: "tcp",
    } as const;
    // A client that says nothing.
    const inlet = { pauseReading: () => {}, resumeReading: () => {}, bodyCancelled: () => {} };
    const body = new IncomingBody(-1, inlet);
    transport.call(new RequestContext({ ...head, headers: [] }, body, 0, ""), {
      informational: () => undefined,
      head: () => opened++,
      end: (error) => ends.push(error === null ? null : error.code),
    });
  };
  for (let n = 0; n < 3; n++) call();
  t.same(ends, ["concurrency_limit"]);
  await eventually("two tunnels", () => opened === 2);
  transport.retire();
  t.equal(transport.connectionCount, 2, "connections outlive their endpoint");
  transport.close();
  t.equal(transport.connectionCount, 0);
  call();
  t.same(ends.slice(1), ["upstream_unprocessed", "upstream_unprocessed", "upstream_unprocessed"]);
});
