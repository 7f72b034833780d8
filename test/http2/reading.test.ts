/**
 * A connection whose bytes are expensive is read a millisecond per turn of the event loop. Reading goes on by itself, to the last byte,
 * also when TLS or the stream still hold some, and when the end of the connection has come behind them.
 */
import net, { type AddressInfo, type Socket } from "node:net";
import tls from "node:tls";
import t, { type Test } from "tap";
import type { Service } from "../../src/stack/service.js";
import { eventually } from "../support/eventually.js";
import {
  clientPreface,
  data,
  endStream,
  FramePeer,
  headers,
  hello,
  post,
  settings,
} from "../support/http2-frames.js";
import { Http2Relay } from "../support/http2-relay.js";
import { makeCertificate } from "../support/make-certificate.js";
import { ScriptedSink } from "../support/scripted-body.js";
import { RecordedReply, scriptedRequest } from "../support/scripted-service.js";

/** Below the window of a stream: nobody has to wait. Many reads of 64 KiB, each of which takes longer than a millisecond. */
const count = 100_000;
const body = Buffer.concat([...Array<Buffer>(count - 1).fill(data(1, "x")), data(1, "x", endStream)]);

interface Transport {
  readonly listen: (onSocket: (socket: Socket) => void) => net.Server;
  readonly dial: (port: number) => Socket;
}

const { pem: cert, keyPem: key } = makeCertificate();
const transports: Readonly<Record<string, Transport>> = {
  TCP: {
    listen: (onSocket) => net.createServer({ allowHalfOpen: true }, onSocket),
    dial: (port) => net.connect({ port, host: "127.0.0.1" }),
  },
  TLS: {
    listen: (onSocket) => tls.createServer({ key, cert, ALPNProtocols: ["h2"] }, onSocket),
    dial: (port) =>
      tls.connect({ port, host: "127.0.0.1", ALPNProtocols: ["h2"], rejectUnauthorized: false }),
  },
};

async function listening(t: Test, server: net.Server): Promise<number> {
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

for (const [name, { listen, dial }] of Object.entries(transports)) {
  t.test(`a response, and the end of the connection right behind it, over ${name}`, async (t) => {
    const upstream = listen((socket) => {
      t.teardown(() => socket.destroy());
      const peer = new FramePeer(socket, clientPreface.length);
      peer.send(settings());
      socket.once("data", () => socket.end(Buffer.concat([headers(1, { ":status": "200" }), body])));
    });
    const relay = await Http2Relay.open(t, { upstreamPort: await listening(t, upstream), dial });
    const reply = new RecordedReply();
    const sink = new ScriptedSink();
    relay.client().send(scriptedRequest(), {
      informational: () => {},
      head: (head, source) => {
        reply.head(head);
        source?.attach(sink);
      },
      end: (error) => void reply.end(error),
    });
    await eventually("the end of the call", () => reply.ends === 1);
    t.equal(reply.outcome, "200");
    t.ok(sink.isEnded);
    t.equal(sink.bytes.length, count);
    await eventually("the end of the connection", () => relay.closedClients === 1);
  });

  t.test(`an upload, and the end of the connection right behind it, over ${name}`, async (t) => {
    const sink = new ScriptedSink();
    const service: Service = {
      call(request, reply) {
        request.body?.attach(sink);
        return { cancel: (error) => reply.end(error) };
      },
    };
    const relay = await Http2Relay.open(t, { upstreamPort: 0, service });
    const port = await listening(
      t,
      listen((socket) => relay.take(socket)),
    );
    const client = dial(port);
    t.teardown(() => client.destroy());
    client.on("error", () => {}).resume();
    client.end(Buffer.concat([hello, headers(1, post), body]));
    await eventually("the whole body", () => sink.isEnded);
    t.equal(sink.bytes.length, count);
    await eventually("the end of the connection", () => relay.closed === 1);
    t.equal(relay.calls.active, 0);
  });
}
